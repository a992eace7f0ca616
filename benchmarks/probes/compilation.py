"""`python -m benchmarks.probes.compilation LAYER ENGINE THREADS`: what a layer's first call takes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch

import holdfast
from benchmarks.own_cell import MovingAverage

INPUTS, HIDDEN = 24, 32

LAYERS: Mapping[str, Callable[[str], holdfast.Recurrent]] = {
    "LSTM": lambda engine: holdfast.LSTM(INPUTS, HIDDEN, engine=engine),
    "LSTM with layer norm": lambda engine: holdfast.LSTM(INPUTS, HIDDEN, layer_norm=True, engine=engine),
    "GRU": lambda engine: holdfast.GRU(INPUTS, HIDDEN, engine=engine),
    "GRU, original": lambda engine: holdfast.GRU(INPUTS, HIDDEN, reset_after=False, engine=engine),
    "sLSTM": lambda engine: holdfast.SLSTM(INPUTS, HIDDEN, engine=engine),
    "a user's own": lambda engine: holdfast.Recurrent(MovingAverage(), INPUTS, HIDDEN, engine=engine),
}


def main(name: str, engine: str, threads: int) -> dict[str, float]:
    """Make a layer and call it twice, after PyTorch has warmed up with a layer of its own.

    Returns:
        Seconds: to make it; of the first call less the second, by the clock and of the processor; of the second.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = torch.randn(10, 4, INPUTS, requires_grad=True)
    for _ in range(3):
        _step(torch.nn.LSTM(INPUTS, HIDDEN), x)
    moments = [_now()]
    layer = LAYERS[name](engine)
    moments.append(_now())
    for _ in range(2):
        _step(layer, x)
        moments.append(_now())
    (make, _), (first, first_cpu), (second, second_cpu) = (
        (wall - wall_before, cpu - cpu_before) for (wall_before, cpu_before), (wall, cpu) in pairwise(moments)
    )
    return {"make": make, "first": first - second, "first_cpu": first_cpu - second_cpu, "second": second}


def _now() -> tuple[float, float]:
    """Seconds by the clock, and of the processor's time."""
    return time.perf_counter(), time.process_time()


def _step(layer: torch.nn.Module, x: torch.Tensor) -> None:
    output, _ = layer(x)
    torch.autograd.grad(output, [x, *layer.parameters()], torch.ones_like(output))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
