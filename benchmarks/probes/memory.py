"""`python -m benchmarks.probes.memory WHO T,B,I,H THREADS INPUT_GRADIENT [RECOMPUTE]`: peak extra bytes of a training
step.

Linux keeps the highest resident size of a process, VmHWM, and starts it afresh on request; so nothing is sampled.
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import calls
from benchmarks.peers import drawn_input, ours, theirs
from benchmarks.shapes import Shape
from holdfast.engines.llvm.memory import release

TINY = Shape(3, 2, 8, 8)


def main(who: str, shape: Shape, threads: int, input_gradient: bool, recompute: bool = False) -> dict[str, Any]:
    """Warm up with a tiny step and with one of this shape, then measure three.

    Args:
        who: "torch", or an engine of ours.
        shape: the sizes.
        threads: PyTorch's.
        input_gradient: whether the step yields the gradient of x.
        recompute: whether our layer computes its gates again on the way back.
    """
    torch.set_num_threads(threads)
    _prepared(who, TINY, input_gradient, recompute)()
    step = _prepared(who, shape, input_gradient, recompute)
    step()
    found = statistics.median(_extra(step) for _ in range(3))
    engine = who if who == "torch" else calls.engine_of(ours("LSTM", shape, who), drawn_input(shape)[0])
    return {"bytes": found, "engine": engine}


def _prepared(who: str, shape: Shape, input_gradient: bool, recompute: bool) -> calls.Call:
    torch.manual_seed(0)
    layer: torch.nn.Module = theirs("LSTM", shape) if who == "torch" else ours("LSTM", shape, who, recompute=recompute)
    x, gradient = drawn_input(shape, requires_grad=input_gradient)
    return calls.call(layer, x, gradient)


def _extra(step: calls.Call) -> int:
    """Bytes by which the resident size rises during a step."""
    gc.collect()
    release()  # what waits to be lent again counts as if it were asked for anew
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    results = step()
    peak = _status("VmHWM")
    del results
    return peak - before


def _status(key: str) -> int:
    """A size of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    flags = [argument == "1" for argument in sys.argv[4:]]
    print(json.dumps(main(sys.argv[1], Shape.parse(sys.argv[2]), int(sys.argv[3]), *flags)))
