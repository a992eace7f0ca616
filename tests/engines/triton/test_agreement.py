"""Every kind of layer and call on Triton's kernels, in its interpreter or on a GPU, against the independent oracle."""

from __future__ import annotations

import pytest

from holdfast.engines.steps import around
from tests.agreement import check
from tests.configurations import CHOICES, Configuration, configurations
from tests.support import DEVICE

from .teams import work_in_teams

pytest.importorskip("triton", reason="Triton cannot be imported here")

SIZES = ("hidden", "steps", "layers")
TEAMS = {"alone": 1, "three together": 3, "holding": None}  # how many programs share the units


@pytest.fixture(autouse=True)
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is run again for the way back, so that also short sequences have several."""
    monkeypatch.setattr(around, "STEPS_AGAIN", 3)
    monkeypatch.setattr(around, "ROWS_AGAIN", 1)


def _cost(c: Configuration) -> int:
    """About how long the interpreter takes for a configuration, in blocks that it computes."""
    heads = c["hidden"] if c["heads"] and c["hidden"] in (7, 17) else 2 if c["heads"] else 1
    return c["steps"] * c["layers"] * (1 + c["bidirectional"]) * heads * -(-c["hidden"] // 32)


EVERY = configurations(200)
VALUES = {(name, value) for name, values in CHOICES.items() if name not in SIZES for value in values}


def _sample() -> list[int]:
    """A few of the configurations that take least, in which every choice occurs but those of sizes."""
    found: list[int] = []
    missing = set(VALUES)
    while missing:
        best = max(range(len(EVERY)), key=lambda k: len(missing.intersection(EVERY[k].items())) / (5 + _cost(EVERY[k])))
        missing.difference_update(EVERY[best].items())
        found.append(best)
    return found


SAMPLE = _sample()
# Others take the interpreter minutes.
MANY = [k for k, c in enumerate(EVERY) if DEVICE.type == "cuda" or _cost(c) <= 20]


def _named(seeds: list[int], forms: int) -> list[object]:
    """Configurations with their seeds, each in so many teams, the first team in turns."""
    names = list(TEAMS)
    return [
        pytest.param(EVERY[k], k, TEAMS[name], id=f"{k}-{EVERY[k]['kind']}-{name}")
        for number, k in enumerate(seeds)
        for name in (names[number % 3 :] + names[: number % 3])[:forms]
    ]


@pytest.mark.parametrize(("c", "seed", "members"), _named(SAMPLE, 1))
def test_outputs_states_and_gradients_agree_with_the_oracle(
    c: Configuration, seed: int, members: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in_teams(monkeypatch, members)
    check(c, seed, "triton", DEVICE)


@pytest.mark.full
@pytest.mark.parametrize(("c", "seed", "members"), _named(MANY, 3))
def test_outputs_states_and_gradients_agree_with_the_oracle_in_many_more_cases(
    c: Configuration, seed: int, members: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in_teams(monkeypatch, members)
    check(c, seed, "triton", DEVICE)
