"""What the benchmark compares is the same thing computed twice. Nothing here is timed in earnest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import __main__ as command
from benchmarks import learning, loops, lowered, measure, peers
from benchmarks.onnx_stream import Bound, Fed
from benchmarks.probes import compilation, memory
from benchmarks.report import Table
from benchmarks.settings import Settings
from benchmarks.shapes import Shape
from benchmarks.tables import grid, half, int8, large, options, own_cell, ragged
from torch import nn

SHAPE = Shape(6, 3, 4, 5)
SETTINGS = Settings("reference", threads=1, seconds=0.0, shapes=(SHAPE,))


def empty() -> Table:
    return Table("name", "title", [])


@pytest.mark.sweep(every=9)
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", options.OPTIONS)
def test_the_loop_does_what_the_option_does(name: str, training: bool) -> None:
    table = empty()
    options._measure(table, SETTINGS, name, options.OPTIONS[name], SHAPE, training)
    assert not table.refused, table.refused
    assert table.rows[0]["error"] < 1e-5


@pytest.mark.parametrize("name", ["zoneout", "cell_clip", "grad_clip", "recurrent dropout", "resets", "trace"])
def test_each_option_makes_a_difference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = loops.lstm_loop
    monkeypatch.setattr(loops, "lstm_loop", lambda x, h, c, weights, _: loop(x, h, c, weights, loops.Options()))
    table = empty()
    options._measure(table, SETTINGS, name, options.OPTIONS[name], SHAPE, training=True)
    assert table.refused
    assert not table.rows


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_a_row_whose_results_are_wrong_is_not_timed(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = peers.ours

    def broken(*args: object, **kwargs: object) -> object:
        layer = ours(*args, **kwargs)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias_hh_l0)  # type: ignore[arg-type]
        return layer

    monkeypatch.setattr(grid, "ours", broken)
    monkeypatch.setattr(grid, "in_turns", lambda *_: pytest.fail("timed"))
    table = empty()
    grid._measure_row(table, SETTINGS, SHAPE, "GRU", training)
    assert [row["cell"] for row in table.refused] == ["GRU"]


def test_the_work_of_a_row_is_that_of_its_products() -> None:
    forward = 2 * 6 * 3 * (4 * 5) * (4 + 5)
    assert grid.operations(SHAPE, "LSTM", training=False, input_gradient=False) == forward
    assert grid.operations(SHAPE, "LSTM", training=True, input_gradient=True) == 3 * forward
    assert grid.operations(SHAPE, "LSTM", training=True, input_gradient=False) == 3 * forward - 2 * 6 * 3 * 20 * 4


def test_a_row_holds_auto_and_the_engine_of_ours_beside_the_bound_of_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grid.calls, "engine_of", lambda *_: "vendor")
    table = empty()
    grid._measure_row(table, Settings("auto", 1, 0.0, shapes=(SHAPE,)), SHAPE, "LSTM", training=False)
    [row] = table.rows
    assert row["llvm_ratio"] != row["ratio"]  # measured for itself
    assert row["interval"][0] <= row["interval"][1]
    assert 0 < row["of_peak"] < 1
    assert row["mark"] == ("peer not lowered" if row["product_of_peak"] > grid.NOT_LOWERED else "")


def test_a_row_whose_interval_lies_below_one_is_named() -> None:
    table = empty()
    row = {"cell": "LSTM", "batch": 2, "ratio": 0.98, "engine": "llvm"}
    table.rows = [{**row, "interval": (0.97, 0.99)}, {**row, "interval": (0.97, 1.01)}]
    grid._require(table, SETTINGS, mean=0.5)
    [found] = [r for r in table.requirements if "interval" in r.what]
    assert not found.reached
    assert found.figure.startswith("1:")


def test_both_sides_are_lowered_by_the_variables_that_they_read(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(lowered.os, "execve", lambda _, command, environment: started.append((command, environment)))
    lowered.restarted("avx2", ["--vectors", "avx2"])
    [(command, environment)] = started
    assert command[1:] == ["-m", "benchmarks", "--vectors", "avx2"]
    assert not lowered.missing("avx2", environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    lowered.restarted("avx2", ["--vectors", "avx2"])
    assert len(started) == 1  # a process that is lowered goes on


def test_the_other_tables_compare_the_same_things() -> None:
    for module, arguments in ((own_cell, (True,)), (own_cell, (False,)), (ragged, ())):
        table = empty()
        module._measure(table, SETTINGS, SHAPE, *arguments)  # type: ignore[attr-defined]
        assert not table.refused, table.refused
        assert table.rows


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_a_row_in_bfloat16_and_one_of_a_large_layer_are_right(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "PRODUCTS", (64,))
    table = empty()
    half._measure(table, SETTINGS, SHAPE, training, 1e9)
    large._measure(table, SETTINGS, SHAPE, training)
    assert not table.refused, table.refused
    assert 1e-4 < table.rows[0]["error"] < half.TOLERANCE  # it is not float32
    assert table.rows[1]["error"] < 1e-5


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_a_peer_that_raises_in_bfloat16_is_named_and_leaves_no_ratio(
    training: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Refusing(nn.LSTM):
        def forward(self, *given: Any) -> Any:
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("could not create a primitive descriptor")
            return super().forward(*given)

    monkeypatch.setattr(half, "theirs", lambda cell, shape: Refusing(shape.inputs, shape.hidden))
    monkeypatch.setattr(half, "matrix_product_peak", lambda **_: 1e9)
    table = (half.training_table if training else half.inference_table)(SETTINGS)
    assert not table.refused, table.refused
    assert "the peer raises" in capsys.readouterr().out
    [row] = table.as_json()["rows"]
    assert row["ratio"] is None
    assert row["note"] == "the peer raises"
    assert row["raised"] == "could not create a primitive descriptor"
    assert row["auto_ms"] > 0
    assert table.requirements == []


_WITHOUT_AVX512 = """
import torch, holdfast
theirs = torch.nn.LSTM(3, 4)
ours = holdfast.LSTM(3, 4)
ours.load_state_dict(theirs.state_dict())
x = torch.randn(5, 2, 3)
expected = theirs(x)[0]
with torch.autocast("cpu", dtype=torch.bfloat16):
    try:
        theirs(x)
        print("PyTorch's runs")
    except RuntimeError as error:
        print("primitive" in str(error))
    output = ours(x)[0]
output.float().sum().backward()
close = (output.float() - expected).abs().max() < 2**-5
print(output.dtype, close.item(), ours.weight_hh_l0.grad.isfinite().all().item())
"""


def test_under_autocast_ours_runs_where_pytorchs_cannot() -> None:
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("oneDNN is lowered by the name of a processor of Intel's kind")
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = [sys.executable, "-c", _WITHOUT_AVX512]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["True", "torch.bfloat16 True True"], done.stderr


def test_a_stream_with_int8_weights_is_measured_with_how_far_it_is_off() -> None:
    table = empty()
    int8._measure(table, SETTINGS, 16)
    assert not table.refused, table.refused
    assert 1e-4 < table.rows[0]["deviation"] < int8.TOLERANCE


def test_learning_in_bfloat16_begins_from_what_float32_begins_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "TESTED", 1)
    exact, coarse = (learning.learn(0, 2, in_half) for in_half in (False, True))
    assert exact != coarse
    assert coarse == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("kind", [Fed, Bound])
def test_onnx_runtime_streams_what_the_layer_computes(kind: type[Fed | Bound]) -> None:
    lstm, xs = nn.LSTM(3, 5), torch.randn(7, 1, 3)
    stream = kind(lstm, threads=1)
    steps = [torch.from_numpy(stream.step(x.numpy()[None])).reshape(1, 5) for x in xs]
    torch.testing.assert_close(torch.stack(steps), lstm(xs)[0])


@pytest.mark.full
def test_a_step_needs_memory_that_grows_with_its_size() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells the highest resident size since a moment")
    small, large = (memory.main("torch", Shape(steps, 32, 8, 64), 1, True)["bytes"] for steps in (50, 400))
    assert large > 3 * small > 0


def test_the_first_call_is_told_from_the_second() -> None:
    assert set(compilation.main("GRU", "reference", 1)) == {"make", "first", "first_cpu", "second"}


def test_the_command_prints_tables_and_a_summary_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "matrix_product_peak", lambda: measure.matrix_product_peak((64,), 0.0))
    written = tmp_path / "found.json"
    command.main(
        f"--engine reference --threads 1 --seconds 0 --only inference training --shapes 6,3,4,5 --cells LSTM RNN "
        f"--json {written}".split()
    )
    printed, found = capsys.readouterr().out, json.loads(written.read_text())
    assert printed.count("(6, 3, 4, 5)") >= 4
    assert "summary" in printed
    assert list(found["tables"]) == ["inference", "training"]
    assert {row["cell"] for row in found["tables"]["training"]["rows"]} == {"LSTM", "RNN"}
    assert found["machine"]["threads"] == 1
    assert found["tables"]["inference"]["requirements"]


def test_the_same_command_line_measures_another_revision() -> None:
    parser = command._parser()
    given = parser.parse_args(
        ["--only", "stream", "--shapes", "1,2,3,4", "5,6,7,8", "--no-input-gradient", "--seconds", "0.5"]
    )
    again = parser.parse_args(command._same(given))
    assert vars(again) == vars(given)
