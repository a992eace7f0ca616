"""ONNX Runtime as a peer of streams: one LSTM node of one step, its state fed back by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper
from torch import nn

Array = np.ndarray[Any, Any]


def model(lstm: nn.LSTM) -> bytes:
    """One step of a layer of PyTorch's as an ONNX model: X, h, c in; h, c out."""

    def reordered(weight: Any) -> Array:  # ONNX has the gates as i, o, f, g
        i, f, g, o = weight.detach().numpy().reshape(4, lstm.hidden_size, -1)
        return np.concatenate([i, o, f, g])

    biases = np.concatenate([reordered(lstm.bias_ih_l0), reordered(lstm.bias_hh_l0)]).reshape(1, -1)
    weights = {"W": reordered(lstm.weight_ih_l0)[None], "R": reordered(lstm.weight_hh_l0)[None], "B": biases}
    shapes = {
        "X": (1, 1, lstm.input_size),
        **dict.fromkeys(("initial_h", "initial_c", "h", "c"), (1, 1, lstm.hidden_size)),
    }
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    node = helper.make_node(
        "LSTM",
        ["X", "W", "R", "B", "", "initial_h", "initial_c"],
        ["", "h", "c"],
        hidden_size=lstm.hidden_size,
    )
    graph = helper.make_graph(
        [node],
        "step",
        [values[name] for name in ("X", "initial_h", "initial_c")],
        [values[name] for name in ("h", "c")],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    serialised: bytes = made.SerializeToString()
    return serialised


def session(lstm: nn.LSTM, threads: int) -> Any:
    """A session for one step, on that many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model(lstm), options, providers=["CPUExecutionProvider"])


class Fed:
    """A stream through `session.run`, with arrays fed and fetched in each step."""

    def __init__(self, lstm: nn.LSTM, threads: int) -> None:
        self._run = session(lstm, threads).run
        self._h = self._c = np.zeros((1, 1, lstm.hidden_size), np.float32)

    def step(self, x: Array) -> Array:
        """One step of x, (1, 1, I)."""
        self._h, self._c = self._run(None, {"X": x, "initial_h": self._h, "initial_c": self._c})
        return self._h


class Bound:
    """A stream through io_binding: everything lies in buffers bound once; the state goes back and forth between two."""

    def __init__(self, lstm: nn.LSTM, threads: int) -> None:
        made = session(lstm, threads)
        self._run = made.run_with_iobinding
        hidden = lstm.hidden_size
        self._x = np.zeros((1, 1, lstm.input_size), np.float32)
        self._h = [np.zeros((1, 1, hidden), np.float32) for _ in range(2)]
        self._c = [np.zeros((1, 1, hidden), np.float32) for _ in range(2)]
        self._bindings = [self._bind(made, old, 1 - old) for old in range(2)]
        self._old = 0

    def _bind(self, made: Any, old: int, new: int) -> Any:
        binding = made.io_binding()
        for name, buffer in (("X", self._x), ("initial_h", self._h[old]), ("initial_c", self._c[old])):
            binding.bind_input(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        for name, buffer in (("h", self._h[new]), ("c", self._c[new])):
            binding.bind_output(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        return binding

    def step(self, x: Array) -> Array:
        """One step of x, (1, 1, I)."""
        self._x[...] = x
        self._run(self._bindings[self._old])
        self._old = 1 - self._old
        return self._h[self._old].copy()
