"""A short trial of each model that could be taken, on the user's own data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from holdfast.data import Panel, Told
from holdfast.training import Devices, Nowhere, Quiet, Training

from .options import ForecastOptions

if TYPE_CHECKING:
    from .task import Forecast

_SHARE = 0.3  # of the minutes or steps, which all trials take together: what learns fast is not always best
_HEAD_START = 0.1  # what the usual base may lie behind, which learns more slowly than a linear one and ends lower
_LEAST_STEPS = 20
_EVALUATIONS = 2


def choose(
    task: Forecast, data: Panel, options: ForecastOptions, place: Devices, told: Told
) -> tuple[ForecastOptions, dict[str, Any]]:
    """The options with the model and the base that did best on validation data; and how each did.

    Each is trained for an equal share of the time, with the learning rate's whole course; the lowest CRPS wins, but the
    usual base, a mixture of seasons or where there are none the last value, must be beaten clearly.
    """
    candidates = _candidates(options)
    if len(candidates) == 1:
        return usual(options), {}
    dated = bool(task.facts(data, options)["known"]["calendar"])
    share = _SHARE / (len(candidates) + dated)
    steps = max(_LEAST_STEPS, round(share * options.steps)) if options.steps else 0
    short: dict[str, Any] = {"steps": steps, "minutes": share * options.minutes, "evaluations": _EVALUATIONS}
    short |= {"tensorboard": False, "patience": 0, "average": 0.0}
    found: dict[str, float] = {}

    def try_(name: str) -> None:
        told(f"trying {name}")
        found[name] = _tried(task, data, replace(options, **{**short, **candidates[name]}), place)

    for name in [*candidates]:
        try_(name)
    best = _best(found, usual=next(iter(candidates)))
    if dated:  # a year of data has each day of the year once, and learns it by heart
        bare = f"{best}, without the calendar"
        candidates[bare] = {**candidates[best], "calendar": False}
        try_(bare)
        best = min((best, bare), key=lambda name: found[name])
    shown = {name: round(value, 6) for name, value in found.items()}
    return replace(options, **candidates[best]), {"chosen": best, "crps after a short trial": shown}


def _best(found: Mapping[str, float], usual: str) -> str:
    """The lowest, or the usual one where it is not far behind."""
    lowest = min(found, key=lambda name: found[name])
    return usual if found[usual] <= (1 + _HEAD_START) * found[lowest] else lowest


def usual(options: ForecastOptions) -> ForecastOptions:
    """The options with the first of what could be taken."""
    return replace(options, **next(iter(_candidates(options).values())))


def _candidates(options: ForecastOptions) -> dict[str, dict[str, Any]]:
    """What could be taken, by a name for people; what is usual first."""
    if options.model == "autoregressive":
        return {"autoregressive": {"base": "mixture"}}
    every = ("mixture", "last", "linear") if options.season else ("last", "linear")
    bases = every if options.base == "auto" else (options.base,)
    return {f"{options.model} on {_BASES[base]}": {"base": base} for base in bases}


_BASES = {"last": "the last value", "mixture": "a mixture of seasons", "linear": "a linear forecast"}


def _tried(task: Forecast, data: Panel, options: ForecastOptions, place: Devices) -> float:
    """The CRPS that a training reaches."""
    torch.manual_seed(options.seed)
    model = task.build(task.facts(data, options), options).to(place.device)
    training = Training(task.problem(data, options, place), model, options, place, Nowhere(), Quiet())
    return training.run().best
