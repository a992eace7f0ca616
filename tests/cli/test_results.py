"""What the terminal shows of an evaluation."""

from __future__ import annotations

import json

import pytest

from holdfast.cli.results import print_result
from holdfast.tasks import TASKS, Result

INTERVALS = [f"{name}_{k}" for k in (50, 80, 90) for name in ("coverage", "interval_score")]
# Of each task what it measures, and a simple method with a long name.
MEASURED = {
    "text": (["nats", "bits_per_char", "perplexity", "tokens"], "5-gram"),
    "forecast": (["crps", "mase", "smape", "mse", "mae", *INTERVALS, "windows"], "seasonal naive, 24 and 168"),
    "classify": (
        ["nats", "accuracy", "f1", "brier", "calibration"],
        "logistic regression on means, deviations and changes",
    ),
    "regress": (["rmse", "mae", "r2"], "ridge regression on TF-IDF of words and pairs"),
    "transcribe": (["cer", "wer", "exact", "nats"], "without memory, a third of a second"),
    "translate": (["nats", "bleu", "chrf", "exact"], "the most alike source's target"),
    "chat": (["nats", "perplexity", "bleu", "distinct_1", "distinct_2"], "the reply to the most alike context"),
    "compose": (["nats"], "each key by how often it sounds"),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_result_is_a_table_of_a_screen_s_width_with_the_main_measures(
    task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names, baseline = MEASURED[task]
    ours, theirs = dict.fromkeys(names, 123.45678), {name: 1.5 for name in names if name != "nats"}
    print_result(Result(task, "valid", ours, {baseline: theirs, f"{baseline}, again": theirs}), as_json=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if "The model" not in line]
    assert all(len(line) <= 80 for line in lines)
    assert sum("123.4568" in line for line in lines) == 1, "a row for each model, no list"
    assert len(lines) < 16
    heading = next(line for line in lines if any(name in line.split() for name in names)).split()
    shown = TASKS[task].headline or tuple(names)
    assert heading == list(shown)
    assert 1 <= len(shown) <= 4
    left = len(names) - len(shown)
    assert (lines[-1] == f"{left} more measure{'s' * (left > 1)} with --json") == bool(left)
    print_result(Result(task, "valid", ours, {baseline: theirs}), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert {*names} <= found.keys()
    assert found["baselines"][baseline] == theirs


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("split", "data"), [("valid", "validation data"), ("test", "test data"), ("given", "these")])
def test_a_result_begins_with_a_verdict(name: str, split: str, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    measure = next(iter(TASKS[name].compared_by))
    better, worse, how = (0.5, 0.4, "25.0% higher") if measure == "bleu" else (0.4, 0.5, "20.0% lower")
    print_result(Result(name, split, {measure: better}, {"simple": {measure: worse}}), as_json=False)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("The model beats every simple method on ")
    assert data in first
    assert first.endswith(
        f"{TASKS[name].compared_by[measure]} that is {how} than that of the best simple method, simple ({better:.4f} "
        f"against {worse:.4f})."
    )
    print_result(Result(name, split, {measure: worse}, {"simple": {measure: better}}), as_json=False)
    assert capsys.readouterr().out.startswith("The model does not pay: on ")
    print_result(Result(name, split, {measure: 0.5}), as_json=False)
    assert capsys.readouterr().out.startswith(f"{name}, {split}")


def test_sentences_are_broken_between_words_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "The intervals were calibrated on these validation data: their coverage counts on others only [80]."
    monkeypatch.setenv("COLUMNS", "60")
    print_result(Result("text", "valid", {"nats": 1.0}, notes=[note]), as_json=False)
    assert capsys.readouterr().err == f"holdfast: {note}\n"
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    print_result(Result("text", "valid", {"nats": 1.0}, notes=[note]), as_json=False)
    lines = capsys.readouterr().err.splitlines()
    assert " ".join(line.strip() for line in lines) == f"holdfast: {note}"
    assert all(len(line) <= 60 for line in lines)
