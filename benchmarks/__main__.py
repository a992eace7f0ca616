"""`python -m benchmarks`: the reference engine against a loop written by hand and against `torch.nn.LSTM`.

A training step (forward and backward) of one layer. Results are compared before anything is timed. Prints a table of
ratios (above 1: the reference engine is faster) and writes the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import holdfast
from benchmarks.loops import lstm_loop
from benchmarks.measure import in_turns, matrix_product_peak

SHAPES = [(100, 32, 128, 128), (100, 1, 64, 64), (35, 20, 200, 200), (100, 64, 256, 256)]  # T, B, I, H


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads (default 2)")
    parser.add_argument("--repeats", type=int, default=30, help="how often each call is timed (default 30)")
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks.json"), help="where the figures are written"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    peak = matrix_product_peak()
    print(f"torch {torch.__version__}, {options.threads} threads, matrix products at {peak / 1e9:.0f} GFLOP/s")
    titles = ("reference", "of peak", "vs loop", "vs nn.LSTM", "spread")
    print(f"{'training step (T, B, I, H)':<28}" + "".join(f"{title:>12}" for title in titles))
    rows = [row(shape, options.repeats, peak) for shape in SHAPES]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "torch": torch.__version__, "threads": options.threads, "peak": peak}
    options.json.write_text(json.dumps({**machine, "rows": rows}, indent=1))
    print(f"written to {options.json}")


def row(shape: tuple[int, int, int, int], repeats: int, peak: float) -> dict[str, Any]:
    """Check and time one shape."""
    steps, batch, inputs, hidden = shape
    theirs = torch.nn.LSTM(inputs, hidden)
    ours = holdfast.LSTM(inputs, hidden, engine="reference")
    ours.load_state_dict(theirs.state_dict())
    weights = [w.detach().requires_grad_() for w in theirs.parameters()]
    x, zero = torch.randn(steps, batch, inputs, requires_grad=True), torch.zeros(batch, hidden)
    calls = {
        "reference": lambda: step(ours(x)[0], [x, *ours.parameters()]),
        "loop": lambda: step(lstm_loop(x, zero, zero, *weights)[0], [x, *weights]),
        "nn.LSTM": lambda: step(theirs(x)[0], [x, *theirs.parameters()]),
    }
    expected = calls["nn.LSTM"]()
    for name in ("reference", "loop"):
        for got, wanted in zip(calls[name](), expected):
            if (got - wanted).abs().max() > 1e-4 * wanted.abs().max():
                raise SystemExit(f"{name} is wrong at {shape}; nothing is timed")
    times = in_turns(calls, repeats)
    own = times["reference"]
    work = 3 * 2 * steps * batch * 4 * hidden * (inputs + hidden)  # forward, and twice as much backward
    print(
        f"{shape!s:<28}{1e3 * own.median:>9.1f} ms{work / own.median / peak:>12.2f}"
        f"{times['loop'].median / own.median:>12.2f}{times['nn.LSTM'].median / own.median:>12.2f}{own.spread:>12.0%}"
    )
    return {"shape": shape, **{name: asdict(timing) for name, timing in times.items()}}


def step(output: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """The output and the gradients of its sum of squares."""
    return [output.detach(), *torch.autograd.grad(output.square().sum(), leaves)]


if __name__ == "__main__":
    main()
