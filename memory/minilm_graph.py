"""The MiniLM network as an ONNX graph, put together from its weights; called by `minilm` alone."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

LAYERS, HEADS, WIDTH = 6, 12, 384


class _Graph:
    """Nodes and constants, named by their number."""

    def __init__(self, weights: Mapping[str, Any], numpy: Any) -> None:
        self.weights, self.numpy = weights, numpy
        self.onnx, self.keep = import_module("onnx.helper"), import_module("onnx.numpy_helper")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self.keep.from_array(self.numpy.ascontiguousarray(value), name))
        return name

    def whole(self, *values: int) -> str:
        return self.constant(self.numpy.array(values, self.numpy.int64))

    def add(self, kind: str, *inputs: str, **options: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(self.onnx.make_node(kind, list(inputs), [name], **options))
        return name

    def linear(self, x: str, name: str) -> str:
        product = self.add("MatMul", x, self.constant(self.weights[f"{name}.weight"].T))
        return self.add("Add", product, self.constant(self.weights[f"{name}.bias"]))

    def norm(self, x: str, y: str, name: str) -> str:
        gain, bias = (self.constant(self.weights[f"{name}.LayerNorm.{part}"]) for part in ("weight", "bias"))
        return self.add("LayerNormalization", self.add("Add", x, y), gain, bias, axis=-1, epsilon=1e-12)

    def split(self, x: str, order: Sequence[int]) -> str:
        parts = self.add("Reshape", x, self.whole(0, 0, HEADS, WIDTH // HEADS))
        return self.add("Transpose", parts, perm=list(order))


def build(weights: Mapping[str, Any], numpy: Any) -> bytes:
    """Return the graph: `ids` and `mask` (batch, words) in, unit vectors (batch, 384) out."""
    graph = _Graph(weights, numpy)
    mask = graph.add("Sub", graph.constant(numpy.float32(1)), "mask")
    mask = graph.add("Unsqueeze", graph.add("Mul", mask, graph.constant(numpy.float32(-1e9))), graph.whole(1, 2))
    x = _embedded(graph)
    for layer in range(LAYERS):
        x = _layer(graph, x, mask, f"encoder.layer.{layer}")
    weight = graph.add("Unsqueeze", "mask", graph.whole(2))
    total = graph.add("ReduceSum", graph.add("Mul", x, weight), graph.whole(1), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", weight, graph.whole(1), keepdims=0))
    out = graph.add("LpNormalization", mean, axis=1, p=2)
    return _packed(graph, out)


def _embedded(graph: _Graph) -> str:
    name, weights = "embeddings", graph.weights
    words = graph.add("Gather", graph.constant(weights[f"{name}.word_embeddings.weight"]), "ids")
    places = weights[f"{name}.position_embeddings.weight"] + weights[f"{name}.token_type_embeddings.weight"][0]
    length = graph.add("Gather", graph.add("Shape", "ids"), graph.whole(1))
    near = graph.add("Slice", graph.constant(places), graph.whole(0), length, graph.whole(0))
    return graph.norm(words, near, name)


def _layer(graph: _Graph, x: str, mask: str, name: str) -> str:
    query = graph.split(graph.linear(x, f"{name}.attention.self.query"), (0, 2, 1, 3))
    keys = graph.split(graph.linear(x, f"{name}.attention.self.key"), (0, 2, 3, 1))
    values = graph.split(graph.linear(x, f"{name}.attention.self.value"), (0, 2, 1, 3))
    scale = graph.constant(graph.numpy.float32((WIDTH // HEADS) ** -0.5))
    scores = graph.add("Add", graph.add("Mul", graph.add("MatMul", query, keys), scale), mask)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), values)
    joined = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), graph.whole(0, 0, WIDTH))
    x = graph.norm(x, graph.linear(joined, f"{name}.attention.output.dense"), f"{name}.attention.output")
    wide = graph.add("Gelu", graph.linear(x, f"{name}.intermediate.dense"))
    return graph.norm(x, graph.linear(wide, f"{name}.output.dense"), f"{name}.output")


def _packed(graph: _Graph, out: str) -> bytes:
    onnx, kinds = graph.onnx, import_module("onnx").TensorProto
    inputs = [
        onnx.make_tensor_value_info("ids", kinds.INT64, ["batch", "words"]),
        onnx.make_tensor_value_info("mask", kinds.FLOAT, ["batch", "words"]),
    ]
    result = onnx.make_tensor_value_info(out, kinds.FLOAT, ["batch", WIDTH])
    packed = onnx.make_graph(graph.nodes, "minilm", inputs, [result], graph.constants)
    return onnx.make_model(packed, opset_imports=[onnx.make_opsetid("", 20)], ir_version=9).SerializeToString()
