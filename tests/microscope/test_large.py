"""Traces of a corpus that are larger than the memory that may be used for them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from holdfast.microscope import Traces
from tests.support import peak_memory

STEPS, UNITS = 1_000_000, 512
MOST = 1_000_000_000  # bytes of anonymous memory
PROGRAM = f"""
import json, sys, time, torch, holdfast
from holdfast import microscope

torch.manual_seed(0)
layer = holdfast.LSTM(8, {UNITS})
parts = (microscope.record(layer, torch.randn(500, 20, 8)) for _ in range({STEPS} // 10_000))
traces = microscope.write_traces(sys.argv[1], parts, {STEPS})

def seconds(units):
    # Of the processor: on a machine that does nothing else as long as by the clock, and the same on a busy one.
    start = time.process_time(), time.perf_counter()
    traces.find("l0.h", 5000, 5010, threshold=0.0, units=units)
    return time.process_time() - start[0], time.perf_counter() - start[1]

asked = {{"all": range({UNITS}), "some": range(16)}}
print(json.dumps({{name: [seconds(units) for _ in range(5)] for name, units in asked.items()}}))
"""


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the memory of a process from /proc")
def test_a_million_steps_of_512_units_are_written_in_a_gigabyte_and_searched_in_a_second(tmp_path: Path) -> None:
    most, printed = peak_memory([sys.executable, "-c", PROGRAM, str(tmp_path)])
    found = json.loads(printed)
    for name, times in found.items():
        processor, clock = (min(column) for column in zip(*times))
        print(f"{name}: {processor:.2f} s of the processor, {clock:.2f} s by the clock")
        assert processor < 1
    print(f"at most {most / 1e6:.0f} MB")
    assert 100e6 < most < MOST
    traces = Traces(tmp_path)
    (match,) = traces.find("l0.h", 5000, 5010, threshold=0.0, units=range(16), most=1)
    on = traces.values("l0.h", range(16), match.start, match.stop) > 0
    assert match.score == pytest.approx(on.mean())
    somewhere = [
        traces.values("l0.h", range(16), k, k + 10) for k in np.random.default_rng(0).integers(0, STEPS - 10, 300)
    ]
    assert match.score >= max((values > 0).mean() for values in somewhere)
