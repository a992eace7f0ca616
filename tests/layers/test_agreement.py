"""Every kind of layer and call against the independent oracle."""

from __future__ import annotations

import pytest

from holdfast.engines.steps import around
from tests.agreement import check
from tests.configurations import Configuration, configurations, pairs, pairs_in

SAMPLE = 200  # as few as hold every pair, with some to spare
ALL = 2000
each_engine = pytest.mark.parametrize("engine", ["reference", "llvm"])


@pytest.fixture(autouse=True)
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is run again for the way back, so that also short sequences have several."""
    monkeypatch.setattr(around, "STEPS_AGAIN", 3)
    monkeypatch.setattr(around, "ROWS_AGAIN", 1)


def _named(cs: list[Configuration], start: int) -> list[object]:
    return [pytest.param(c, k, id=f"{k}-{c['kind']}") for k, c in enumerate(cs, start)]


@each_engine
@pytest.mark.parametrize(("c", "seed"), _named(configurations(SAMPLE), 0))
def test_outputs_states_and_gradients_agree_with_the_oracle(c: Configuration, seed: int, engine: str) -> None:
    check(c, seed, engine)


@pytest.mark.full
@each_engine
@pytest.mark.parametrize(("c", "seed"), _named(configurations(ALL, seed=1), 10_000_000))
def test_outputs_states_and_gradients_agree_with_the_oracle_in_many_more_cases(
    c: Configuration, seed: int, engine: str
) -> None:
    check(c, seed, engine)


def test_every_pair_of_compatible_choices_occurs_in_the_sample() -> None:
    found = set().union(*(pairs_in(c) for c in configurations(SAMPLE)))
    assert pairs() <= found
