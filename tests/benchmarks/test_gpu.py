"""The GPU benchmark starts, checks and writes; what it measures in an interpreter means nothing."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from benchmarks import gpu
from benchmarks.measure import Timings

from holdfast.engines import triton


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="PyTorch finds no GPU here"):
        gpu.main([])


def test_it_checks_each_row_and_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="Triton cannot be imported here")
    monkeypatch.setattr(gpu, "in_turns", lambda calls, budget: Timings({name: [1.0] * 3 for name in calls}))
    sizes = ["--batches", "2", "--steps", "2", "--hidden", "3", "--dtypes", "float32"]
    options = ["--peers", "cudnn", "reference", "--options", "peephole", "resets", gpu.RAGGED, gpu.OWN]
    gpu.main(["--device", "cpu", *sizes, *options, "--json", str(tmp_path / "gpu.json")])
    tables = json.loads((tmp_path / "gpu.json").read_text())["tables"]
    assert [row["phase"] for row in tables["plain"]["rows"]] == ["inference", "training"]
    assert len(tables["options"]["rows"]) == 8
    assert all(row["error"] < 1e-5 for table in tables.values() for row in table["rows"])


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.full)])
def test_a_compiled_loop_is_an_lstm(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    layer = torch.nn.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    with torch.no_grad():
        torch.testing.assert_close(gpu.compiled_loop(layer, x)(), layer(x)[0])


def test_the_message_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "refusal", lambda device, dtype: "no Triton")
    with pytest.raises(SystemExit, match="no Triton"):
        gpu.main(["--device", "cpu"])
