"""`python -m benchmarks.gpu`: the GPU engine against cuDNN, a compiled step in a loop, and the reference.

Every row is checked before it is timed. Calls are timed in turns, each with a wait for the device; a figure is the
ratio of the medians. Beside each row stand the least times that the device's memory and its arithmetic allow.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import holdfast
from holdfast.engines import triton
from holdfast.language import Cell, sigmoid, tanh

from . import calls, check, machine
from .measure import in_turns
from .peers import ours, theirs
from .report import Column, Row, Table, milliseconds, share, summary, text, times
from .shapes import Shape
from .tables.common import seeded
from .tables.grid import operations
from .tables.options import OPTIONS, Option

BATCHES, STEPS, HIDDEN = (1, 16, 64, 256), (128, 1024), (32, 64, 128, 256, 512, 768, 1024)
TOLERANCE = {torch.float32: check.TOLERANCE, torch.bfloat16: 2.0**-4}
PEERS = ("cudnn", "compiled", "reference")
OWN, RAGGED = "a cell of one's own", "ragged"  # beside the layer's options
CHOICES = (*OPTIONS, RAGGED, OWN)
PLAIN = 0.97  # how many times as fast as cuDNN the plain LSTM must be
SMALL, LARGE, UNITS = 1.5, 2.5, 512  # how many times cuDNN's plain time an option may take, up to so many units, above


def main(arguments: list[str]) -> None:
    """Measure, print, write."""
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    refusal = triton.refusal(device, torch.float32)
    if device.type == "cuda" and not torch.cuda.is_available():
        refusal = "PyTorch finds no GPU here"
    if refusal is not None:
        sys.exit(f"nothing was measured: {refusal}. --device cpu with TRITON_INTERPRET=1 tries the command itself.")
    torch.set_float32_matmul_precision("high" if options.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = options.tf32
    if options.tf32:
        TOLERANCE[torch.float32] = 2.0**-7
    dtypes = [getattr(torch, name) for name in options.dtypes]
    limits = {dtype: Limits(device, dtype) for dtype in dtypes}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else machine.cpu_name()
    print(f"{name}, torch {torch.__version__}, {triton.describe()}, TF32 {'on' if options.tf32 else 'off'}")
    for dtype, found in limits.items():
        products, memory = f"{found.peak / 1e12:.1f} TFLOP/s", f"{found.bandwidth / 1e9:.0f} GB/s"
        print(f"{_short(dtype)}: products at {products}, memory at {memory}")
    grid = list(itertools.product(dtypes, (False, True), options.hidden, options.steps, options.batches))

    def benches() -> Iterator[Bench]:
        for dtype, training, hidden, steps, batch in grid:
            yield Bench(Shape(steps, batch, hidden, hidden), dtype, training, device, options.seconds)

    plain = Table("plain", "the plain LSTM; × = times as fast", _plain_columns(options.peers))
    for bench in benches():
        bench.plain(plain, options.peers, limits[bench.dtype])
    opened = Table("options", "each option; × = its time over cuDNN's of the plain LSTM", _option_columns())
    for bench in benches():
        for option in options.options:
            bench.option(opened, option)
    if "cudnn" in options.peers:
        plain.require_at_least("by itself never slower than cuDNN", PLAIN, "auto_ratio")
    options_alone = [row for row in opened.rows if row["option"] != "none"]
    for bound, rows in (
        (SMALL, [row for row in options_alone if row["hidden"] <= UNITS]),
        (LARGE, [row for row in options_alone if row["hidden"] > UNITS]),
    ):
        opened.require_at_most("each option", bound, "ratio", rows)
    summary([plain, opened])
    options.json.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "device": name,
        "torch": torch.__version__,
        "triton": triton.describe(),
        "revision": machine.revision(),
        "tf32": options.tf32,
        "limits": {_short(d): {"peak": found.peak, "bandwidth": found.bandwidth} for d, found in limits.items()},
        "tables": {table.name: table.as_json() for table in (plain, opened)},
    }
    options.json.write_text(json.dumps(written, indent=1))
    print(f"written to {options.json}")


class Own(Cell):
    """A cell that no library has: an LSTM whose output gate sees the candidate too."""

    gates = ("i", "f", "g", "o")
    states = ("h", "c")

    def step(self, gate: Any, state: Any) -> Any:
        """The equations."""
        candidate = tanh(gate.g)
        c = sigmoid(gate.f) * state.c + sigmoid(gate.i) * candidate
        return sigmoid(gate.o + candidate) * tanh(c), c


class Limits:
    """What a device can do at most, measured: operations a second in matrix products, bytes a second in a copy."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        size = 8192 if device.type == "cuda" else 256
        a = torch.randn(size, size, device=device, dtype=dtype)
        b = torch.empty_like(a)
        taken = in_turns(
            {"product": _waiting(lambda: torch.mm(a, a), device), "copy": _waiting(lambda: b.copy_(a), device)}, 0.5
        )
        self.peak = 2 * size**3 / taken.median("product")
        self.bandwidth = 2 * a.nbytes / taken.median("copy")


class Bench:
    """One shape, dtype and phase on a device.

    Args:
        shape: the sizes.
        dtype: of everything.
        training: a training step, or inference.
        device: where.
        seconds: about how long a row is timed.
    """

    def __init__(self, shape: Shape, dtype: torch.dtype, training: bool, device: torch.device, seconds: float) -> None:
        seeded()
        self.shape, self.dtype, self.training = shape, dtype, training
        self.device, self.seconds = device, seconds
        self.peer = theirs("LSTM", shape).to(device, dtype).train(training)
        given: dict[str, Any] = {"device": device, "dtype": dtype}
        self.x = torch.randn(shape.steps, shape.batch, shape.inputs, **given).requires_grad_(training)
        self.gradient = torch.randn(shape.steps, shape.batch, shape.hidden, **given)
        self.row: Row = {
            "shape": str(shape),
            "hidden": shape.hidden,
            "dtype": _short(dtype),
            "phase": calls.phase_of(training),
        }

    def layer(self, engine: str, like: nn.Module | None, **options: Any) -> holdfast.Recurrent:
        """Our layer."""
        return ours("LSTM", self.shape, engine, like, **options).to(self.device, self.dtype).train(self.training)

    def with_option(self, engine: str, name: str, option: Option) -> holdfast.Recurrent:
        """Our layer with an option, or a cell of one's own."""
        if name != OWN:
            return self.layer(engine, None, **option.layer)
        layer = holdfast.Recurrent(Own(), self.shape.inputs, self.shape.hidden, engine=engine)
        return layer.to(self.device, self.dtype).train(self.training)

    def waiting(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """A call that ends when the device has done it."""
        return _waiting(call, self.device)

    def plain(self, table: Table, peers: list[str], limits: Limits) -> None:
        """The plain LSTM against its peers."""
        engines = ("triton", "auto")
        timed = {name: calls.call(self.layer(name, self.peer), self.x, self.gradient) for name in engines}
        timed["cudnn"] = calls.call(self.peer, self.x, self.gradient)
        if "reference" in peers:
            timed["reference"] = calls.call(self.layer("reference", self.peer), self.x, self.gradient)
        if "compiled" in peers:
            run = compiled_loop(self.peer, self.x)
            timed["compiled"] = calls.call(self.peer, self.x, self.gradient, run)
        who, off = check.furthest(timed["cudnn"](), {name: call() for name, call in timed.items() if name != "cudnn"})
        if not off <= TOLERANCE[self.dtype]:
            table.refuse(self.row, who, off, TOLERANCE[self.dtype])
            return
        taken = in_turns({n: self.waiting(c) for n, c in timed.items() if n in (*engines, *peers)}, self.seconds)
        row = {**self.row, "error": off, **{f"{name}_ms": 1e3 * taken.median(name) for name in engines}}
        if "cudnn" in peers:
            row["auto_ratio"] = taken.ratio("cudnn", "auto").value
        for peer in peers:
            ratio = taken.ratio(peer, "triton")
            row |= {
                f"{peer}_ms": 1e3 * taken.median(peer),
                f"{peer}_ratio": ratio.value,
                f"{peer}_spread": ratio.spread,
            }
        work = operations(self.shape, "LSTM", self.training, self.training)
        row |= {"arithmetic_ms": 1e3 * work / limits.peak, "memory_ms": 1e3 * self.moved() / limits.bandwidth}
        row["of_bound"] = max(row["arithmetic_ms"], row["memory_ms"]) / row["triton_ms"]
        table.add(row)

    def moved(self) -> float:
        """Bytes that must come from memory or go there at least, if weights and states stayed on the chip."""
        rows, size = self.shape.steps * self.shape.batch, self.x.element_size()
        series = self.shape.inputs + self.shape.hidden  # x and the output
        if self.training:
            series += 2 * 5 * self.shape.hidden + 2 * self.shape.inputs + self.shape.hidden  # gates and c; gradients
        weights = sum(p.nbytes for p in self.peer.parameters()) * (2 if self.training else 1)
        return float(rows * series * size + weights)

    def option(self, table: Table, name: str) -> None:
        """An option against cuDNN's time for the plain LSTM."""
        option = OPTIONS.get(name, Option())
        own, reference = (self.with_option(engine, name, option) for engine in ("triton", "reference"))
        reference.load_state_dict(own.state_dict())
        given: dict[str, Tensor] = {}
        if option.reset:
            given["reset"] = torch.rand(self.x.shape[:2], device=self.device) < 0.1
        if name == RAGGED:
            given["lengths"] = torch.randint(1, self.shape.steps + 1, self.x.shape[1:2], device=self.device)

        def of(layer: holdfast.Recurrent) -> Callable[[], Any]:
            def run() -> Tensor:
                torch.manual_seed(1)  # the same masks for both
                if option.trace:
                    return layer.trace(self.x, **given).output
                output: Tensor = layer(self.x, **given)[0]
                return output

            return calls.call(layer, self.x, self.gradient, run)

        row = {**self.row, "option": name}
        off = check.furthest(of(reference)(), {"triton": of(own)()})[1]
        if not off <= TOLERANCE[self.dtype]:
            table.refuse(row, "triton", off, TOLERANCE[self.dtype])
            return
        plain = calls.call(self.peer, self.x, self.gradient)
        taken = in_turns({"triton": self.waiting(of(own)), "cudnn": self.waiting(plain)}, self.seconds)
        ratio = taken.ratio("triton", "cudnn")
        table.add(
            {
                **row,
                "triton_ms": 1e3 * taken.median("triton"),
                "cudnn_ms": 1e3 * taken.median("cudnn"),
                "ratio": ratio.value,
                "spread": ratio.spread,
                "error": off,
            }
        )


def compiled_loop(layer: nn.RNNBase, x: Tensor) -> Callable[[], Tensor]:
    """A plain LSTM as a loop around one step that `torch.compile` has compiled."""
    weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()

    @torch.compile
    def step(row: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = torch.addmm(row, h, weight_hh.t()).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def run() -> Tensor:
        h = c = x.new_zeros(x.shape[1], layer.hidden_size)
        outputs = []
        for row in F.linear(x, weight_ih, bias_ih + bias_hh).unbind(0):
            h, c = step(row, h, c)
            outputs.append(h)
        return torch.stack(outputs)

    return run


def _waiting(call: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    def waited() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return waited


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _names() -> list[Column]:
    return [
        Column("shape", "(T, B, I, H)", text, 24, names=True),
        Column("dtype", "dtype", text, 9, names=True),
        Column("phase", "phase", text, 10, names=True),
    ]


def _plain_columns(peers: list[str]) -> list[Column]:
    of_peers = [
        (Column(f"{p}_ms", f"{p} ms", milliseconds, 13), Column(f"{p}_ratio", f"{p} ×", times, 12)) for p in peers
    ]
    return [
        *_names(),
        Column("auto_ms", "auto ms", milliseconds),
        Column("auto_ratio", "auto ×", times, 9),
        Column("triton_ms", "triton ms", milliseconds),
        *itertools.chain(*of_peers),
        Column("memory_ms", "memory ms", milliseconds),
        Column("arithmetic_ms", "arithm. ms", milliseconds, 11),
        Column("of_bound", "of bound", share, 9),
    ]


def _option_columns() -> list[Column]:
    return [
        *_names(),
        Column("option", "option", text, 18, names=True),
        Column("triton_ms", "triton ms", milliseconds),
        Column("cudnn_ms", "cudnn ms", milliseconds),
        Column("ratio", "×", times, 7),
        Column("spread", "spread", share, 7),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="where (default cuda)")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, help="in place of the whole grid")
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--hidden", nargs="+", type=int, default=HIDDEN)
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="of the plain LSTM")
    parser.add_argument("--options", nargs="*", choices=CHOICES, default=CHOICES, help="in place of all")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long a row is timed (default 1)")
    parser.add_argument("--tf32", action="store_true", help="let cuDNN and the engine round float32 factors to TF32")
    parser.add_argument("--json", type=Path, default=Path("build/gpu.json"), help="where the figures are written")
    return parser


if __name__ == "__main__":
    if "cpu" in sys.argv:
        os.environ.setdefault("TRITON_INTERPRET", "1")
    main(sys.argv[1:])
