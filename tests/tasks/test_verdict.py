"""What is said of a model beside simple methods."""

from __future__ import annotations

import math

import pytest

from holdfast.tasks.advice import advice
from holdfast.tasks.verdict import standings, verdict

WHERE = "the test data"


@pytest.mark.parametrize(
    ("measure", "ours", "theirs", "won"),
    [("nats", 1.0, 2.0, True), ("nats", 2.0, 1.0, False), ("bleu", 30.0, 20.0, True), ("bleu", 20.0, 30.0, False)],
)
def test_the_best_simple_method_is_the_one_that_counts(measure: str, ours: float, theirs: float, won: bool) -> None:
    worse = theirs * (2 if measure == "nats" else 0.5)
    baselines = {"worse": {measure: worse}, "best": {measure: theirs}, "none": {measure: math.nan}, "other": {}}
    [one] = standings({measure: "measure"}, {measure: ours}, baselines)
    assert (one.who, one.ours, one.theirs, one.won) == ("best", ours, theirs, won)
    said = verdict([one], WHERE)
    assert said.startswith("The model beats every simple method on the test data" if won else "The model does not pay")
    assert ("higher" if ours > theirs else "lower") in said
    assert f"best ({ours:.4f} against {theirs:.4f})" in said


def test_what_neither_has_is_not_compared() -> None:
    assert standings({"nats": "loss"}, {"nats": 1.0}, {"other": {"accuracy": 0.5}}) == []
    assert standings({"nats": "loss"}, {"accuracy": 1.0}, {"other": {"nats": 0.5}}) == []
    assert verdict([], WHERE) == "No simple method could be measured on the test data."


@pytest.mark.parametrize(
    ("measure", "ours", "said"),
    [
        ("cer", 0.0, "that equals that of the best simple method"),
        ("cer", 0.5, "above 0, where the best simple method, simple, makes no error (0.5000 against 0.0000)"),
        ("bleu", 0.5, "above 0, where the best simple method, simple, gets nothing right (0.5000 against 0.0000)"),
    ],
)
def test_a_simple_method_at_0_is_no_division_by_zero(measure: str, ours: float, said: str) -> None:
    assert said in verdict(standings({measure: "measure"}, {measure: ours}, {"simple": {measure: 0.0}}), WHERE)


def test_one_measure_won_and_one_lost_is_said_so() -> None:
    both = {"crps": "CRPS", "mase": "MASE"}
    said = verdict(standings(both, {"crps": 1, "mase": 2}, {"last": {"crps": 2, "mase": 1}}), WHERE)
    assert said.startswith("The model wins by one measure and loses by the other: it has a CRPS that is 50.0% lower")
    assert "a MASE that is 100.0% higher" in said


@pytest.mark.parametrize(("measure", "ours", "theirs", "behind"), [("bleu", 3.0, 9.0, True), ("bleu", 9.0, 3.0, False)])
def test_a_training_that_ended_behind_a_simple_method_is_told_so_by_what_both_have(
    measure: str, ours: float, theirs: float, behind: bool
) -> None:
    lines = [{"step": k, "loss": 1.0, "valid_nats": 1.0 + (k > 9)} for k in range(1, 41)]
    found = standings({measure: measure}, {measure: ours}, {"memory": {measure: theirs}})
    said = advice("nats", lines, found, seconds=60)
    assert bool(said) == behind
    if behind:
        assert said.startswith("memory is ahead with 9.0000 against 3.0000, and nats has not fallen since step 1")
