"""The sentence encoder all-MiniLM-L6-v2 as an ONNX graph: token ids in, a vector for each token out.

Written by hand from the weights (a BERT encoder of six layers: Devlin et al. 2019, arXiv:1810.04805), so that no torch
is needed to make it and none to run it. Weights are 8-bit integers with a scale a column, and activations are quantised
as they come (the dynamic quantisation of Jacob et al. 2018, arXiv:1712.05877), which makes it twice as fast on a core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    import onnx

WIDTH = 384
_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12
_HEAD_WIDTH = WIDTH // _HEADS
_LEVELS = 63
"""Of a weight, to each side of zero. A processor without VNNI adds pairs of products in 16 bits, which 127 would
overflow: results are the same everywhere."""

Array = np.ndarray[Any, Any]
Weights = dict[str, Array]


def build_graph(weights: Weights) -> onnx.ModelProto:
    """Return the encoder as an ONNX model.

    Input `input_ids`, int64 [1, tokens]; output `hidden`, float32 [1, tokens, 384]. It reads one text at a time: on one
    core a batch is no faster, and activations that are quantised together would let its texts change one another.
    """
    graph = _Graph(weights)
    x = graph.embeddings()
    for layer in (f"encoder.layer.{i}" for i in range(_LAYERS)):
        attended = graph.op("Add", [x, graph.attention(x, f"{layer}.attention")], f"{layer}.attended")
        x = graph.norm(attended, f"{layer}.attention.output.LayerNorm")
        inner = graph.op("Gelu", [graph.dense(x, f"{layer}.intermediate.dense")], f"{layer}.inner")
        both = graph.op("Add", [x, graph.dense(inner, f"{layer}.output.dense")], f"{layer}.sum")
        x = graph.norm(both, f"{layer}.output.LayerNorm")
    return graph.model(x)


class _Graph:
    """An ONNX graph as it grows; each method adds nodes and returns the name of what they give."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self.const("split_heads", [0, 0, 3, _HEADS, _HEAD_WIDTH])
        self.const("join_heads", [0, 0, WIDTH])
        self.const("axis_0", [0])

    def const(self, name: str, value: Any) -> str:
        array = np.asarray(value, order="C")
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x: str, name: str, matrix: Array, bias: Array) -> str:
        """Add `x @ matrix.T + bias` with integers: the pattern that onnxruntime fuses to one kernel."""
        largest = np.abs(matrix).max(axis=1)
        integers = np.rint(matrix * (_LEVELS / largest[:, None])).astype(np.int8).T
        # What a layer's linear maps share is quantised for each of them: onnxruntime merges what is the same.
        parts = [f"{name}.{part}" for part in ("integers", "scale", "zero")]
        self._nodes.append(helper.make_node("DynamicQuantizeLinear", [x], parts))
        quantised, scale, zero = parts
        sums = self.op("MatMulInteger", [quantised, self.const(f"{name}.weight", integers), zero], f"{name}.sums")
        scales = self.op("Mul", [scale, self.const(f"{name}.scales", largest / np.float32(_LEVELS))], f"{name}.steps")
        product = self.op(
            "Mul", [self.op("Cast", [sums], f"{name}.cast", to=TensorProto.FLOAT), scales], f"{name}.product"
        )
        return self.op("Add", [product, self.const(f"{name}.bias", bias)], name)

    def dense(self, x: str, name: str) -> str:
        return self.linear(x, name, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def norm(self, x: str, name: str) -> str:
        scale, bias = (self.const(f"{name}.{part}", self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.op("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=_EPSILON)

    def embeddings(self) -> str:
        words = self.const("words", self._weights["embeddings.word_embeddings.weight"])
        # Every text is of the first type, so that type's embedding is made part of the positions'.
        type_0 = self._weights["embeddings.token_type_embeddings.weight"][0]
        positions = self.const("positions", self._weights["embeddings.position_embeddings.weight"] + type_0)
        word = self.op("Gather", [words, "input_ids"], "word")
        length = self.op("Shape", ["input_ids"], "length", start=1, end=2)
        position = self.op("Slice", [positions, "axis_0", length], "position")
        return self.norm(self.op("Add", [word, position], "embedded"), "embeddings.LayerNorm")

    def attention(self, x: str, name: str) -> str:
        # One product makes query, key and value of all heads; the scale of the scores is folded into the query.
        scales = {"query": np.float32(_HEAD_WIDTH**-0.5), "key": np.float32(1), "value": np.float32(1)}
        matrix = np.concatenate([self._weights[f"{name}.self.{part}.weight"] * by for part, by in scales.items()])
        bias = np.concatenate([self._weights[f"{name}.self.{part}.bias"] * by for part, by in scales.items()])
        joint = self.op("Reshape", [self.linear(x, f"{name}.qkv", matrix, bias), "split_heads"], f"{name}.heads")
        parts = self.op("Transpose", [joint], f"{name}.parts", perm=[2, 0, 3, 1, 4])  # [3, batch, heads, tokens, width]
        self._nodes.append(helper.make_node("Split", [parts], [f"{name}.{p}" for p in scales], axis=0, num_outputs=3))
        query, key, value = (self.op("Squeeze", [f"{name}.{p}", "axis_0"], f"{name}.{p}s") for p in scales)
        turned = self.op("Transpose", [key], f"{name}.turned", perm=[0, 1, 3, 2])
        scores = self.op("MatMul", [query, turned], f"{name}.scores")
        mixed = self.op("MatMul", [self.op("Softmax", [scores], f"{name}.shares", axis=-1), value], f"{name}.mixed")
        by_token = self.op("Transpose", [mixed], f"{name}.by_token", perm=[0, 2, 1, 3])
        return self.dense(self.op("Reshape", [by_token, "join_heads"], f"{name}.joined"), f"{name}.output.dense")

    def model(self, output: str) -> onnx.ModelProto:
        self.op("Identity", [output], "hidden")
        graph = helper.make_graph(
            self._nodes,
            "all-minilm-l6-v2",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])],
            [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "tokens", WIDTH])],
            self._constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
