"""One step of a stream, batch 1, against PyTorch and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import check
from benchmarks.measure import in_turns
from benchmarks.onnx_stream import Bound, Fed
from benchmarks.peers import ours
from benchmarks.report import OTHERS, Column, Row, Table, one_decimal, share, text, times
from benchmarks.settings import Settings
from benchmarks.shapes import Shape

from .common import seeded

SIZES = (16, 64, 128, 256)
AT_LEAST = {"nn": {16: 10.0, 64: 10.0, 128: 10.0, 256: 4.0}, "onnx": {16: 2.0, 64: 2.0, 128: 1.5, 256: 1.0}}
STEPS = 200  # in a timed batch
CHECKED = 20

Step = Callable[[Any], Any]


def run(settings: Settings) -> Table:
    """All sizes, I = H."""
    columns = [
        Column("size", "I = H", text, 6, names=True),
        Column("fresh_us", "fresh µs", one_decimal, 9, compared=True),
        Column("out_us", "out= µs", one_decimal, 9, compared=True),
        Column("tensor_us", "tensor µs", one_decimal, 10),
        Column("tensor_out_us", "tensor out= µs", one_decimal, 15),
        Column("nn_us", "nn.LSTM µs", one_decimal, 11),
        Column("nn", "nn.LSTM ×", times, 10, compared=True),
        Column("nn_spread", "spread", share, 7),
        Column("onnx_us", "ONNX µs", one_decimal, 9),
        Column("onnx", "ONNX ×", times, 9, compared=True),
        Column("onnx_spread", "spread", share, 7),
        Column("onnx_how", "ONNX Runtime by", text, 16),
        OTHERS,
    ]
    title = "stream.step, one LSTM layer, batch 1; × = times as fast as the peer, with a fresh NumPy array"
    note = (
        f"batches of {STEPS} steps; ONNX Runtime by whichever is fastest, session.run (fed) or io_binding (bound), on "
        "one or two threads; each peer in turns with ours alone"
    )
    table = Table("stream", title, columns, note)
    for size in SIZES:
        _measure(table, settings, size)
    for key, name in (("nn", "nn.LSTM with T = 1"), ("onnx", "ONNX Runtime")):
        for limit in sorted(set(AT_LEAST[key].values()), reverse=True):
            sizes = [size for size, wanted in AT_LEAST[key].items() if wanted == limit]
            rows = [row for row in table.rows if row["size"] in sizes]
            table.require_at_least(f"× {name}, I = H = {', '.join(map(str, sizes))}", limit, key, rows)
    return table


def _measure(table: Table, settings: Settings, size: int) -> None:
    seeded()
    lstm = nn.LSTM(size, size).eval()
    layer = ours("LSTM", Shape(1, 1, size, size), settings.engine, lstm).eval()
    xs = torch.randn(CHECKED, 1, size)

    peers = {
        f"{kind.__name__.lower()}, {threads} thread{'s' * (threads > 1)}": (kind, threads)
        for kind in (Fed, Bound)
        for threads in (1, 2)
    }
    row: Row = {"size": size}
    expected = [torch.as_tensor(lstm(xs)[0].detach()).reshape(CHECKED, size)]
    results = {name: _outputs(step, xs, name) for name, step in _steps(layer, lstm).items()}
    results |= {name: _outputs(kind(lstm, threads).step, xs, name) for name, (kind, threads) in peers.items()}
    who, off = check.furthest(expected, {name: [got] for name, got in results.items()})
    if not off <= check.TOLERANCE:
        table.refuse(row, who, off)
        return

    taken = in_turns(
        {name: batch_of_steps(step, _given(name, xs[0])) for name, step in _steps(layer, lstm).items()},
        settings.seconds / 2,
    )
    # Idle threads of a session spin, so each variant is tried alone, and only the fastest one meets ours.
    alone = {}
    for name, (kind, threads) in peers.items():
        batch = {name: batch_of_steps(kind(lstm, threads).step, _given(name, xs[0]))}
        alone[name] = 1e6 / STEPS * in_turns(batch, settings.seconds / 8).median(name)
    best = min(alone, key=lambda name: alone[name])
    kind, threads = peers[best]
    pair = {"fresh": layer.stream().step, "onnx": kind(lstm, threads).step}
    beside = in_turns(
        {name: batch_of_steps(step, _given(name, xs[0])) for name, step in pair.items()}, settings.seconds / 2
    )
    against_torch, against_onnx = taken.ratio("nn", "fresh"), beside.ratio("onnx", "fresh")
    table.add(
        {
            **row,
            **{f"{name}_us": 1e6 / STEPS * taken.median(name) for name in taken.seconds},
            "onnx_us": 1e6 / STEPS * beside.median("onnx"),
            "beside_onnx_us": 1e6 / STEPS * beside.median("fresh"),
            "nn": against_torch.value,
            "nn_spread": against_torch.spread,
            "onnx": against_onnx.value,
            "onnx_spread": against_onnx.spread,
            "onnx_how": best,
            "onnx_alone_us": alone,
            "rounds": taken.rounds,
            "others": max((t.others for t in (taken, beside) if t.others is not None), default=None),
            "error": off,
        }
    )


def _steps(layer: Any, lstm: nn.LSTM) -> dict[str, Step]:
    """Our stream in each of its four ways, and PyTorch's layer."""
    array, tensor = np.empty((1, lstm.hidden_size), np.float32), torch.empty(1, lstm.hidden_size)
    with_array, with_tensor = layer.stream().step, layer.stream().step
    return {
        "fresh": layer.stream().step,
        "out": lambda x: with_array(x, array),
        "tensor": layer.stream().step,
        "tensor_out": lambda x: with_tensor(x, tensor),
        "nn": _torch_step(lstm),
    }


def _torch_step(lstm: nn.LSTM) -> Step:
    """A call of PyTorch's layer with T = 1 that carries its state."""
    state = (torch.zeros(1, 1, lstm.hidden_size), torch.zeros(1, 1, lstm.hidden_size))

    def step(x: torch.Tensor) -> torch.Tensor:
        nonlocal state
        output, state = lstm(x, state)
        return output

    return step


def _given(name: str, x: torch.Tensor) -> Any:
    """An input, (1, I), as a way of streaming takes it."""
    if name.startswith("tensor"):
        return x
    if name == "nn":
        return x.unsqueeze(0)
    return x.numpy() if name in ("fresh", "out") else x.numpy()[None]


def _outputs(step: Step, xs: torch.Tensor, name: str) -> torch.Tensor:
    with torch.inference_mode():
        return torch.stack([torch.as_tensor(step(_given(name, x))).reshape(-1).clone() for x in xs])


def batch_of_steps(step: Step, x: Any) -> Callable[[], None]:
    """Many steps in a row."""

    def call() -> None:
        with torch.inference_mode():
            for _ in range(STEPS):
                step(x)

    return call
