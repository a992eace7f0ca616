"""Whether a model is better than simple methods, in a sentence or two."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .figures import shown

# What a part of the data is called.
MEASURED_ON = {"valid": "the validation data", "test": "the test data", "given": "these data"}


def verdict(
    judged: Mapping[str, str],
    model: Mapping[str, float],
    baselines: Mapping[str, Mapping[str, float]],
    data: str = MEASURED_ON["valid"],
) -> str:
    """Whether the model is better than the best simple method, by each measure that both have.

    >>> verdict({"nats": "loss in nats"}, {"nats": 1.5}, {"unigram": {"nats": 3.0}}).partition(":")[0]
    'The model beats every simple method on the validation data'

    Args:
        judged: the measures by which it is judged, the less the better, and what they are called.
        model: its measures.
        baselines: of each simple method the same measures, as far as it has them.
        data: what all were measured on.
    """
    won: list[tuple[str, str]] = []  # the measure, and what is said of it
    lost: list[tuple[str, str]] = []
    for name, called in judged.items():
        others = {who: m[name] for who, m in baselines.items() if math.isfinite(m.get(name, math.nan))}
        if name in model and others:
            who = min(others, key=lambda one: others[one])
            said = _against(called, model[name], others[who], who)
            (won if model[name] < others[who] else lost).append((called, said))
    if won and lost:
        return (
            f"The model wins by one measure and loses by the other: it has {won[0][1]}, but {lost[0][1]}. Where "
            f"{lost[0][0]} is what counts, the simple method is the better choice."
        )
    if won:
        return f"The model beats every simple method on {data}: it has {' and '.join(one[1] for one in won)}."
    if lost:
        return (
            f"The model does not pay: on {data} it has {' and '.join(one[1] for one in lost)}. The simple method is "
            "the better choice."
        )
    return f"No simple method could be measured on {data}."


def _against(called: str, model: float, best: float, who: str) -> str:
    """One measure of the model beside the best simple method's."""
    figures = f"({shown(model)} against {shown(best)})"
    if model == best:
        return f"a {called} that equals that of the best simple method, {who} {figures}"
    if best == 0:
        return f"a {called} above 0, where the best simple method, {who}, makes no error {figures}"
    how = "lower" if model < best else "higher"
    return f"a {called} that is {abs(1 - model / best):.1%} {how} than that of the best simple method, {who} {figures}"
