"""Every kind of layer and call on Triton's kernels, in its interpreter or on a GPU, against the independent oracle."""

from __future__ import annotations

import pytest

from holdfast.engines.triton import kernels, run
from tests.agreement import check
from tests.configurations import CHOICES, Configuration, configurations
from tests.support import DEVICE

pytest.importorskip("triton", reason="Triton cannot be imported here")

FORMS = {"a kernel a step": 0, "one kernel": 1 << 20}  # the units up to which a program keeps its sequences


@pytest.fixture(autouse=True)
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is run again for the way back, so that also short sequences have several."""
    monkeypatch.setattr(run, "STEPS_AGAIN", 3)
    monkeypatch.setattr(run, "ROWS_AGAIN", 1)


def _small(c: Configuration) -> bool:
    """Whether the interpreter takes a second or two for a configuration."""
    many_heads = c["heads"] and c["hidden"] in (7, 17)  # as many as there are units
    return c["hidden"] <= 17 and c["steps"] <= 5 and c["layers"] * (1 + c["bidirectional"]) <= 2 and not many_heads


def _choices(c: Configuration) -> set[tuple[str, object]]:
    return set(c.items())


SMALL = {k: c for k, c in enumerate(configurations(200)) if _small(c)}
REACHABLE = set().union(*map(_choices, SMALL.values()))


def _sample() -> list[int]:
    """A few of the small configurations, in which every choice occurs that occurs in any."""
    found: list[int] = []
    missing = set(REACHABLE)
    while missing:
        best = max(SMALL, key=lambda k: (len(_choices(SMALL[k]) & missing), -SMALL[k]["steps"]))
        missing -= _choices(SMALL[best])
        found.append(best)
    return found


SAMPLE = _sample()
MANY = list(range(200)) if DEVICE.type == "cuda" else list(SMALL)  # others take the interpreter minutes


def _named(seeds: list[int], forms: int) -> list[object]:
    """Configurations with their seeds, each in so many forms, the first form in turns."""
    every, names = configurations(200), list(FORMS)
    return [
        pytest.param(every[k], k, FORMS[name], id=f"{k}-{every[k]['kind']}-{name}")
        for number, k in enumerate(seeds)
        for name in (names[number % 2 :] + names[: number % 2])[:forms]
    ]


@pytest.mark.parametrize(("c", "seed", "persistent_units"), _named(SAMPLE, 1))
def test_outputs_states_and_gradients_agree_with_the_oracle(
    c: Configuration, seed: int, persistent_units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PERSISTENT_UNITS", persistent_units)
    check(c, seed, "triton", DEVICE)


@pytest.mark.full
@pytest.mark.parametrize(("c", "seed", "persistent_units"), _named(MANY, 2))
def test_outputs_states_and_gradients_agree_with_the_oracle_in_many_more_cases(
    c: Configuration, seed: int, persistent_units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PERSISTENT_UNITS", persistent_units)
    check(c, seed, "triton", DEVICE)


def test_every_cell_and_every_option_occurs_in_the_sample() -> None:
    sizes = ("hidden", "steps", "layers")
    assert {(name, value) for name, values in CHOICES.items() if name not in sizes for value in values} <= REACHABLE
