"""Every kind of layer and call against the independent oracle."""

from __future__ import annotations

import pytest

from holdfast.engines.steps import around
from tests.agreement import check_engines
from tests.configurations import CHOICES, Configuration, configurations, few, pairs, pairs_in

SAMPLE = 200  # as few as hold every pair, with some to spare
FEW = few(SAMPLE)  # of them, as few as hold every choice and the pairs in which the engines branch
ALL, BLOCK = 2000, 10
ENGINES = ("reference", "llvm")


@pytest.fixture(autouse=True)
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is run again for the way back, so that also short sequences have several."""
    monkeypatch.setattr(around, "STEPS_AGAIN", 3)
    monkeypatch.setattr(around, "ROWS_AGAIN", 1)


@pytest.mark.parametrize(
    ("c", "seed"),
    [
        pytest.param(c, k, id=f"{k}-{c['kind']}", marks=[] if k in FEW else [pytest.mark.full])
        for k, c in enumerate(configurations(SAMPLE))
    ],
)
def test_outputs_states_and_gradients_agree_with_the_oracle(c: Configuration, seed: int) -> None:
    check_engines(c, seed, ENGINES)


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, ALL, BLOCK))
def test_outputs_states_and_gradients_agree_with_the_oracle_in_many_more_cases(first: int) -> None:
    for k in range(first, first + BLOCK):  # drawn here, where they are run: it takes a while
        check_engines(configurations(ALL, seed=1)[k], 10_000_000 + k, ENGINES)


def test_every_pair_of_compatible_choices_occurs_in_the_sample() -> None:
    found = set().union(*(pairs_in(c) for c in configurations(SAMPLE)))
    assert pairs() <= found


def test_every_choice_and_three_of_four_pairs_occur_in_what_is_quick() -> None:
    quick = [configurations(SAMPLE)[k] for k in FEW]
    assert all(any(c[name] == value for c in quick) for name, values in CHOICES.items() for value in values)
    found = set().union(*(pairs_in(c) for c in quick))
    assert len(found & pairs()) > 0.75 * len(pairs())
