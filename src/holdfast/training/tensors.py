"""Tensors and facts in one file: safetensors, with a digest over every byte of it.

The file is an ordinary safetensors file. Its metadata has `facts`, a JSON object, and `sha256`, the digest of the whole
file with that digest itself written as zeros. The format allows metadata of 100 MB: larger facts, such as the names of
a million series, are a tensor of bytes beside the others. Nothing in the file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from holdfast.extras import require

from .files import write_atomically

_BLANK = "0" * 64
_LARGE = 1 << 24  # bytes of facts above which they are a tensor
_FACTS = "holdfast.facts"  # its name


class DamagedFile(ValueError):
    """A file that is not what its name says, or not as it was written."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts, atomically.

    Raises:
        OSError: they could not be written.
    """
    own = {name: t.detach().to("cpu", copy=False).contiguous() for name, t in tensors.items()}
    shared = require("safetensors.torch", "train")
    said = json.dumps(dict(facts), allow_nan=True)
    if len(said) > _LARGE:
        own[_FACTS] = torch.frombuffer(bytearray(said.encode("ascii")), dtype=torch.uint8)
    metadata = {"format": "pt", "facts": "{}" if _FACTS in own else said, "sha256": _BLANK}
    content = shared.save(_apart(own), metadata=metadata)
    at = _place(content)
    digest = hashlib.sha256(content).hexdigest().encode()
    write_atomically(path, content[:at] + digest + content[at + len(digest) :])


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote.

    Raises:
        DamagedFile: the file is not one of these, or not whole.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    damaged = DamagedFile(f"{path} is damaged, or was not written by holdfast: its digest does not agree")
    try:
        at = _place(content)
    except ValueError:
        raise damaged from None
    digest = content[at : at + len(_BLANK)]
    blank = hashlib.sha256(content[:at])
    blank.update(_BLANK.encode())
    blank.update(memoryview(content)[at + len(_BLANK) :])
    if blank.hexdigest().encode() != digest:
        raise damaged
    shared = require("safetensors.torch", "train")
    length = int.from_bytes(content[:8], "little")
    facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["facts"])
    tensors = shared.load(content)
    if _FACTS in tensors:
        facts = json.loads(tensors.pop(_FACTS).numpy().tobytes())
    return tensors, facts


def _place(content: bytes) -> int:
    """Where the digest stands in a file's header; ValueError if there is none."""
    length = int.from_bytes(content[:8], "little")
    mark = b'"sha256":"'
    at = content[: min(8 + length, len(content))].rindex(mark) + len(mark)
    if at + len(_BLANK) > len(content):
        raise ValueError
    return at


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same without shared memory, which the format does not have."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = (
            tensor.clone()
            if place in seen or tensor.numel() * tensor.element_size() < tensor.untyped_storage().nbytes()
            else tensor
        )
        seen.add(place)
    return found
