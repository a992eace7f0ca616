"""What the layer and the single step share: options, and how they are shown and applied."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from holdfast.language import Cell

from . import checks


class RecurrentOptions(TypedDict, total=False):
    """The options that every cell has; `Recurrent` tells their meaning."""

    layer_norm: bool
    recurrent_dropout: float
    zoneout: float | tuple[float, float]
    weight_drop: float
    heads: int
    grad_clip: float | None
    recompute: bool
    learn_state: bool
    engine: str


class SingleStepOptions(TypedDict, total=False):
    """The options that every single-step cell has; `Recurrent` tells their meaning."""

    layer_norm: bool
    zoneout: float | tuple[float, float]
    heads: int
    grad_clip: float | None
    engine: str


def wired(cell: Cell, layer_norm: bool) -> Cell:
    """A layer's own copy of a cell, which knows whether there is a layer norm."""
    if not isinstance(cell, Cell):
        hint = "; pass an object: " + cell.__name__ + "()" if isinstance(cell, type) else ""
        raise TypeError(f"cell must be a holdfast.Cell, got {type(cell).__name__}{hint}")
    cell = copy.copy(cell)
    object.__setattr__(cell, "layer_norm", layer_norm)  # a frozen dataclass is as good a cell as any
    object.__setattr__(cell, "_frozen", True)
    return cell


def shown_settings(module: Any, changed: Mapping[str, Any]) -> str:
    """The sizes and changed options of a layer; where it is not named after its cell, the cell comes first."""
    cell = type(module.cell).__name__
    named = any(base.__name__ in (cell, f"{cell}Cell") for base in type(module).__mro__)
    options = {**(module.cell.settings() if named else {}), **changed}
    sizes = f"{module.input_size}, {module.hidden_size}"
    return ", ".join([*([] if named else [repr(module.cell)]), sizes, *(f"{k}={v!r}" for k, v in options.items())])


def zoneout_pair(cell: Cell, zoneout: float | tuple[float, float]) -> tuple[float, float]:
    """The probabilities for h and for the other states; one number holds for all states."""
    alone = len(cell.states) == 1
    if isinstance(zoneout, numbers.Real):
        pair = (zoneout, 0.0 if alone else zoneout)
    elif isinstance(zoneout, tuple | list) and len(zoneout) == 2:
        pair = tuple(zoneout)
    else:
        accepted = "a probability or a pair (p, 0)" if alone else "a probability or a pair of them (p_h, p_c)"
        raise TypeError(f"zoneout must be {accepted}; got {zoneout!r}")
    for part in pair:
        checks.probability("zoneout", part, below_one=False)
    if alone and pair[1]:
        raise ValueError(f"zoneout: {type(cell).__name__} has no state beside h, so p_c must be 0; got {zoneout!r}")
    return float(pair[0]), float(pair[1])


def autocast_is_on(device: torch.device) -> bool:
    """Whether autocast is at work on a device; some devices, like "meta", have none.

    >>> autocast_is_on(torch.device("meta"))
    False
    """
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def autocast_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of a tensor under autocast; as everywhere in PyTorch, float64 stays."""
    stays = not tensor.dtype.is_floating_point or tensor.dtype == torch.float64
    return tensor.dtype if stays else torch.get_autocast_dtype(tensor.device.type)


def cast_for_autocast(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in autocast's dtype."""
    return [t.to(autocast_dtype(t)) for t in tensors]
