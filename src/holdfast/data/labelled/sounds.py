"""Examples that are recordings: listed in a table, in a class' folder, or named one by one; as log-mel frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..audio.manifest import Entry, entries, sought, unheard
from ..audio.mel import MelStream
from ..audio.sound import sound_blocks
from ..sources import DataError
from .example import Example, Fault, Reading, example
from .roles import label_column


def from_sound(path: str, reading: Reading) -> Iterator[Example]:
    """A recording that is named itself, of which nothing is said."""
    try:
        content = frames_of(path, reading)
    except (Fault, DataError) as error:
        yield Example(path, None, None, str(error).removeprefix(f"{path} "))
    else:
        yield example(path, content, None, reading)


def from_list(path: str, reading: Reading) -> Iterator[Example]:
    """The recordings that a table lists.

    Raises:
        DataError: the table cannot be read, or a column is not there or cannot be told.
    """
    for one in map(sought, listed(path, reading)):
        try:
            if one.fault:
                raise Fault(one.fault)
            content = _heard(one.path, reading)
        except Fault as fault:
            yield Example(one.where, None, None, str(fault))
        else:
            yield example(one.where, content, one.said, reading)


def frames_of(path: str, reading: Reading) -> np.ndarray[Any, Any]:
    """The log-mel frames of a recording, float32, (T, C); of its sound only some seconds are in memory.

    Raises:
        DataError: the file cannot be read.
        Fault: it is no sound, or one that cannot be used; or no recordings are read.
    """
    if reading.mel is None:
        raise Fault("a recording, but the model learned from none")
    stream = MelStream(reading.mel)
    frames = [stream.push(block) for block in sound_blocks(path, reading.mel.rate)]
    found: np.ndarray[Any, Any] = torch.cat([*frames, stream.finish()]).numpy()
    return found


def listed(path: str, reading: Reading) -> Iterator[Entry]:
    """What a table lists, whether it is there or not.

    Raises:
        DataError: the table cannot be read, or a column is not there or cannot be told.
    """
    return entries(path, reading.audio, reading.named, lambda names: label_column(path, names, reading))


def _heard(path: str, reading: Reading) -> np.ndarray[Any, Any]:
    """The frames of a recording that is listed."""
    try:
        return frames_of(path, reading)
    except (Fault, DataError) as error:
        raise Fault(unheard(path, error)) from None
