"""The end of each series, which a run keeps in its folder: what a forecast of the steps to come is made from."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from holdfast.data import Columns, Frequency, Panel
from holdfast.training import DamagedFile, load_tensors, save_tensors

RECENT = "recent.safetensors"
_ARRAYS = ("starts", "first", "values", "past", "future", "ends", "phases", "cut")


def keep_recent(panel: Panel, steps: int, folder: Path) -> None:
    """Write the last known steps of each series, and what is known of their future.

    Args:
        panel: all steps.
        steps: how many of them.
        folder: the run's.
    """
    last = panel.last(steps)
    facts = {
        "names": last.names,
        "past_names": last.past_names,
        "future_names": last.future_names,
        "columns": asdict(last.columns),
        "frequency": last.frequency.to_dict(),
        "static": {name: cells.tolist() for name, cells in last.static.items()},
    }
    arrays = {name: torch.from_numpy(np.ascontiguousarray(getattr(last, name))) for name in _ARRAYS}
    save_tensors(folder / RECENT, arrays, facts)


def recent_of(folder: Path) -> Panel | None:
    """What was kept; None of a run that kept nothing.

    Raises:
        DamagedFile: it is not as it was written.
    """
    path = folder / RECENT
    if not path.is_file():
        return None
    tensors, facts = load_tensors(path)
    if not {*_ARRAYS} <= tensors.keys() or not {f.name for f in fields(Panel)} - {*_ARRAYS, "notes"} <= facts.keys():
        raise DamagedFile(f"{path} is another file of holdfast's, not the end of a run's series")
    told: dict[str, Any] = {name: tuple(facts[name]) for name in ("names", "past_names", "future_names")} | {
        name: tensors[name].numpy() for name in _ARRAYS
    }
    return Panel(
        **told,
        columns=Columns(**facts["columns"]),
        frequency=Frequency.from_dict(facts["frequency"]),
        static={name: np.array(cells) for name, cells in facts["static"].items()},
    )
