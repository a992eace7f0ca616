"""A step's kernel: compiled once a process for each step and form, started once for all steps of a sequence."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import linecache
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .emit import SIZES, Form, Source

ALONE = 64  # up to so many units one program is the whole team
FEW_ROWS = 2  # sequences up to which matrix products are sums of products
ROWS, UNITS = 64, 32  # of a block, at most
PIECE, RUN = 4096, 256  # of an operand multiplied at a time, at most: entries in all, and bytes of a row


class Blocks(NamedTuple):
    """How the work is divided: what one program has of each.

    Attributes:
        rows: sequences.
        units: units.
        depth: entries of an operand that are multiplied at a time.
    """

    rows: int
    units: int
    depth: int


def interpreted() -> bool:
    """Whether Triton runs its kernels in Python, on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Where kernels are started: Triton asks PyTorch for the current device."""
    if device.type == "cuda":
        return torch.cuda.device(device)
    return np.errstate(all="ignore")  # the interpreter's numbers are NumPy's, which would warn of an infinity


def _power(number: int) -> int:
    """The least power of two that is not below a number."""
    return 1 << max(0, number - 1).bit_length()


def blocks_for(batch: int, units: int, heads: int, dtype: torch.dtype, device: torch.device) -> Blocks:
    """How the work is divided for some sizes."""
    rows = _power(batch) if batch <= FEW_ROWS else min(ROWS, max(16, _power(batch)))
    narrow = max(16, _power(units // heads))
    depth = min(PIECE // rows, RUN // dtype.itemsize, narrow)
    smallest = -(-batch // rows) * heads * -(-units // heads // 16)  # blocks, if they have 16 units
    return Blocks(rows, 16 if smallest <= _processors(device) else min(UNITS, narrow), depth)


def members_for(device: torch.device, teams: int, units: int, blocks: int) -> int:
    """How many programs share the units of a team.

    All run at the same time, since those of a team wait for each other: no more than the device has processors.

    Args:
        device: where they run.
        teams: how many teams there are in all.
        units: the units of a team.
        blocks: the blocks that they fall into.
    """
    if units <= ALONE:
        return 1
    return max(1, min(blocks, _processors(device) // teams))


@functools.lru_cache
def _processors(device: torch.device) -> int:
    """How many programs a device certainly runs at the same time."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def form_of(dtype: torch.dtype, device: torch.device, ragged: bool, rows: int) -> Form:
    """In which form a step is written for some tensors."""
    element = f"tl.{str(dtype).removeprefix('torch.')}"
    number = "tl.float64" if dtype == torch.float64 else "tl.float32"
    tf32 = device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32
    # The interpreter's tl.dot knows no bfloat16.
    dot = rows > FEW_ROWS and not (interpreted() and dtype == torch.bfloat16)
    return Form(element, number, ragged, dot, "tf32" if tf32 else "ieee")


class Kernel:
    """The kernel of a step, as Triton has it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        # Triton reads a function's source through `inspect`, which looks here for what lies in no file.
        name = f"<holdfast {hashlib.sha256(source.text.encode()).hexdigest()[:16]}>"
        linecache.cache[name] = (len(source.text), None, source.text.splitlines(keepends=True), name)
        importlib.import_module("triton")
        found: dict[str, Any] = {"__name__": name}
        exec(compile(source.text, name, "exec"), found)
        self.whole = found["whole"]


class Call:
    """A run of a step's kernel over a sequence, or over one part of it after the other.

    Args:
        kernel: the kernel.
        blocks: how the work is divided.
        widths: the entries of each state.
        hidden: H.
        output: the entries of the output.
        heads: the blocks of the recurrent weights.
        like: a tensor on the device, of the dtype that is computed in, with the batch as its first size.
    """

    def __init__(
        self,
        kernel: Kernel,
        blocks: Blocks,
        widths: Mapping[str, int],
        hidden: int,
        output: int,
        heads: int,
        like: Tensor,
    ) -> None:
        self.kernel, self.blocks = kernel, blocks
        self.batch, self.hidden = like.shape[0], hidden
        self.sizes = dict(zip(SIZES, (self.batch, hidden, output)))
        self.parts = {
            name: heads * -(-width // heads // blocks.units) for name, width in (("units", hidden), ("output", output))
        }
        plan = kernel.source.plan
        self.tensors: dict[str, Tensor] = {
            "scratch_units": like.new_empty(self.batch, plan.scratch["units"] * hidden),
            "scratch_output": like.new_empty(self.batch, plan.scratch["output"] * output),
            "partial": like.new_empty(plan.means, self.batch, self.parts["units"]),
        }
        self.rings = {name: like.new_empty(2, self.batch, width) for name, width in widths.items()}
        self.tensors |= {f"state:{name}": ring for name, ring in self.rings.items()}
        self.turn = 0  # where in the rings the states stand
        self.constants = {
            "ROWS": blocks.rows,
            "UNITS": blocks.units,
            "DEPTH": blocks.depth,
            "PARTS": _power(self.parts["units"]),
            "num_warps": 8 if blocks.rows == ROWS else 4,  # or there are not registers enough for its results
            "enable_fp_fusion": True,  # a product and a sum may be rounded once: Triton warns that its default changes
        }

    def state(self, name: str) -> Tensor:
        """The state as it is now, (B, ·); to be read, or written before a run."""
        return self.rings[name][self.turn]

    def run(self, steps: int, back: bool) -> None:
        """Run over some steps; every series begins with the first of them.

        Args:
            steps: how many.
            back: whether from the last to the first.
        """
        if not self.batch or not steps:
            return
        source = self.kernel.source
        pointers = [self.tensors[name] for name in source.pointers]
        moment = (steps - 1, steps, -1, self.turn) if back else (0, steps, 1, self.turn)
        device, rows = pointers[0].device, -(-self.batch // self.blocks.rows)
        units, blocks = self.hidden // source.teams, max(self.parts.values()) // source.teams
        members = members_for(device, rows * source.teams, units, blocks)
        meetings = torch.zeros(rows * source.teams, dtype=torch.int32, device=device)
        with _on(device):
            self.kernel.whole[(rows, source.teams, members)](
                *(*pointers, meetings, *moment, *self.sizes.values()),
                **self.constants,
                TEAMS=source.teams,
                MEMBERS=members,
                launch_cooperative_grid=members > 1,
            )
        self.turn = (self.turn + steps) % 2
