"""What a forecast depends on: its gradient with respect to all that a model is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.models import Forecasting, Window

from .history import History

Array = np.ndarray[Any, Any]

_TABLES = ("past", "future", "calendar", "static")


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How much a forecast moves with what it is made from.

    Attributes:
        lags: by how much the mean forecast moves with the value so many steps before the first one to come, counted
            from 1, the mean size over windows; (L,).
        parts: of the values and of each column, how far the mean forecast moves, in deviations of its series, if each
            step of it moves by its deviation, always in the direction that counts; by name, the mean over windows.
    """

    lags: Array
    parts: dict[str, float]


def sensitivity(model: Forecasting, history: History, series: Tensor, origins: Tensor) -> Sensitivity:
    """The gradient of the mean of each window's forecast, its median.

    Args:
        model: in evaluation mode.
        history: the series.
        series, origins: the windows, (W,) each.
    """
    cut, _ = history.cut(series, origins, history.ends[-1][series])
    device = next(model.parameters()).device
    names = [name for name in ("values", *_TABLES) if getattr(cut, name).shape[-1]]
    leaves = {name: getattr(cut, name).to(device, copy=True).requires_grad_() for name in names}
    window = Window(**{**{n: t.to(device) for n, t in cut._asdict().items()}, **leaves})
    with torch.enable_grad():
        total = model.middle(window).mean(1).sum()
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    gradients = {name: g.double().numpy(force=True) for name, g in zip(names, found)}
    units = history.deviations[series.numpy()]
    changing = units > 0
    sizes = np.abs(gradients["values"])  # (W, L)
    parts = {"the values": float(sizes.sum(1).mean())}
    for table in names[1:]:
        each = np.abs(gradients[table])
        columns = getattr(cut, table).double().numpy()
        deviations = columns.reshape(-1, columns.shape[-1]).std(0)
        moved = (each.sum(1) if each.ndim == 3 else each) * deviations  # (W, columns)
        means = (moved[changing] / units[changing, None]).mean(0)
        for name, value in zip(_names(history, table), means.tolist()):
            parts[name] = parts.get(name, 0.0) + value
    return Sensitivity(sizes.mean(0)[::-1], parts)


def _names(history: History, table: str) -> Sequence[str]:
    """Of each column of a table; what stands for one thing has one name."""
    known, panel = history.known, history.panel
    if table == "past":
        return panel.past_names
    if table == "future":
        return panel.future_names
    if table == "calendar":
        waves = panel.frequency.calendar_names
        return [f"the place in the {waves[k].split()[0]}" for k in known.calendar]
    return [*known.numbers, *(name for name, values in known.texts.items() for _ in values)]
