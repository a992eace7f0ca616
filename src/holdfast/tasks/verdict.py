"""Whether a model is better than simple methods, in a sentence or two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .figures import shown

# What a part of the data is called.
MEASURED_ON = {"valid": "the validation data", "test": "the test data", "given": "these data"}

_MORE_IS_BETTER = ("bleu",)


@dataclass(frozen=True)
class Standing:
    """A model beside the best simple method, by one measure.

    Attributes:
        called: what the measure is called.
        ours, theirs: the model's, and the best simple method's.
        who: the best simple method.
        won: whether the model is better.
    """

    called: str
    ours: float
    theirs: float
    who: str
    won: bool


def standings(
    compared_by: Mapping[str, str], model: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]
) -> list[Standing]:
    """The model beside the best simple method, by each measure that both have.

    >>> [one] = standings({"nats": "loss"}, {"nats": 1.5}, {"unigram": {"nats": 3.0}, "5-gram": {"nats": 2.0}})
    >>> one.who, one.won
    ('5-gram', True)

    Args:
        compared_by: the measures, and what they are called.
        model: the model's.
        baselines: of each simple method the same measures, as far as it has them.
    """
    found = []
    for name, called in compared_by.items():
        others = {who: m[name] for who, m in baselines.items() if math.isfinite(m.get(name, math.nan))}
        if name in model and others:
            best, is_better = (max, float.__gt__) if name in _MORE_IS_BETTER else (min, float.__lt__)
            who = best(others, key=lambda one: others[one])
            ours, theirs = float(model[name]), float(others[who])
            found.append(Standing(called, ours, theirs, who, is_better(ours, theirs)))
    return found


def verdict(standings: Sequence[Standing], data: str) -> str:
    """Whether the model is better than the best simple method.

    >>> verdict([Standing("loss in nats", 1.5, 3.0, "unigram", True)], "the test data").partition(":")[0]
    'The model beats every simple method on the test data'

    Args:
        standings: by each measure that counts.
        data: what all were measured on.
    """
    won, lost = ([one for one in standings if one.won is better] for better in (True, False))
    if won and lost:
        return (
            f"The model wins by one measure and loses by the other: it has {_said(won[0])}, but {_said(lost[0])}. "
            f"Where {lost[0].called} is what counts, the simple method is the better choice."
        )
    if won:
        return f"The model beats every simple method on {data}: it has {' and '.join(map(_said, won))}."
    if lost:
        return (
            f"The model does not pay: on {data} it has {' and '.join(map(_said, lost))}. So far the simple "
            "method is the better choice."
        )
    return f"No simple method could be measured on {data}."


def _said(one: Standing) -> str:
    """The model beside the best simple method by one measure, in words."""
    figures = f"({shown(one.ours)} against {shown(one.theirs)})"
    if one.ours == one.theirs:
        return f"a {one.called} that equals that of the best simple method, {one.who} {figures}"
    if one.theirs == 0:
        end = "gets nothing right" if one.won else "makes no error"
        return f"a {one.called} above 0, where the best simple method, {one.who}, {end} {figures}"
    how = "lower" if one.ours < one.theirs else "higher"
    share = f"{abs(1 - one.ours / one.theirs):.1%} {how}"
    return f"a {one.called} that is {share} than that of the best simple method, {one.who} {figures}"
