"""A step's kernel: compiled once a process for each step and form, started once for all steps of a sequence."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import linecache
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from holdfast.language import Program

from .emit import SIZES, Form, Source

ALONE = 64  # up to so many units one program is the whole team
FEW_ROWS = 2  # sequences up to which matrix products are sums of products, if not on tensor cores
ROWS, UNITS = 64, 32  # of a block, at most; of a team of one, as many units as it has
HELD, OPERAND = 512, 1 << 14  # the deepest weights that are held; entries of an operand that registers have room for
PADDING = 1 << 13  # bytes of shared memory that the compiler may add to what is asked for
PIECE, RUN = 4096, 256  # of an operand multiplied at a time, at most: entries in all, and bytes of a row


@dataclass(frozen=True)
class Division:
    """How the work is divided.

    Attributes:
        rows: sequences of a block.
        units: units of a block.
        depth: entries of an operand that are multiplied at a time.
        members: programs of a team.
        held: whether a program holds its weights on the chip, and does not read them at every step.
    """

    rows: int
    units: int
    depth: int
    members: int
    held: bool


class Device(NamedTuple):
    """What a program may count on.

    Attributes:
        programs: how many certainly run at the same time.
        shared: bytes of memory on the chip that one has.
    """

    programs: int
    shared: int


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


@functools.lru_cache
def device_of(device: torch.device) -> Device:
    """What a program may count on there."""
    if device.type != "cuda":
        return Device(1, 1 << 16)  # Triton's interpreter runs one program after the other
    known = torch.cuda.get_device_properties(device)
    # What a program gets only on asking, which Triton does, is not told of AMD's devices.
    shared = getattr(known, "shared_memory_per_block_optin", known.shared_memory_per_block)
    return Device(known.multi_processor_count, shared)


def alone(program: Program, hidden: int) -> bool:
    """Whether each team that runs a layer is one program, which waits for no other, whatever the batch.

    >>> from holdfast import cells
    >>> from holdfast.language import Options, trace
    >>> alone(trace(cells.LSTM()), 128), alone(trace(cells.LSTM(), Options(heads=2)), 128)
    (False, True)

    Args:
        program: the layer's.
        hidden: H.
    """
    joined = program.layer_norm or program.projection or any(node.op == "mean" for node in program.nodes)
    return _alone(hidden, 1 if joined else program.heads)


def _alone(hidden: int, teams: int) -> bool:
    return hidden // teams <= ALONE


def divide(batch: int, hidden: int, heads: int, source: Source, form: Form, about: Device) -> Division:
    """Divide the work.

    All programs of all teams run at the same time, since those of a team wait for each other.

    Args:
        batch: sequences.
        hidden: H.
        heads: the blocks of the recurrent weights.
        source: the kernel.
        form: how it is written.
        about: the device.
    """
    narrow = max(16, _power(hidden // heads))
    single_program = _alone(hidden, source.teams)
    most = _power(batch) if batch <= FEW_ROWS and not form.dot else min(ROWS, max(16, _power(batch)))

    def team(rows: int, largest: int) -> tuple[int, int, bool]:
        """The units of a block, the members of a team, and whether each has one block, for so many sequences."""
        row_blocks = -(-batch // rows)
        smallest = row_blocks * heads * -(-hidden // heads // 16)  # blocks, if they have 16 units
        units = min(narrow, largest if single_program else 16 if smallest <= about.programs else UNITS)
        blocks = heads // source.teams * -(-hidden // heads // units)
        members = 1 if single_program else max(1, min(blocks, about.programs // (row_blocks * source.teams)))
        return units, members, members == blocks

    if form.tensor_cores and source.teams == heads and narrow <= HELD:  # a program sees all that its weights multiply
        for rows in sorted({min(most, ROWS), min(most, 32), min(most, 16)}, reverse=True):
            units, members, single = team(rows, narrow)
            needed = source.tiles * narrow * units * form.bytes + rows * narrow * 4 + PADDING
            if single and rows * narrow <= OPERAND and needed <= about.shared:
                return Division(rows, units, narrow, members, held=True)
    units, members, _ = team(most, UNITS)
    depth = min(PIECE // most, RUN // form.bytes, narrow)
    while depth > 16 and _streamed(most, units, depth, source.results, form) > about.shared:
        depth //= 2
    return Division(most, units, depth, members, held=False)


def _streamed(rows: int, units: int, depth: int, results: int, form: Form) -> int:
    """Bytes of shared memory for a piece of an operand and of its weights, while the next one is on its way."""
    operand = rows * depth * max(4, form.bytes)  # states are float32
    again = operand if form.half else 0  # in what is multiplied
    return 2 * (operand + results * depth * units * form.bytes) + again + PADDING // 4


def form_of(dtype: torch.dtype, device: torch.device, ragged: bool, batch: int) -> Form:
    """In which form a step is written for some tensors."""
    element = f"tl.{str(dtype).removeprefix('torch.')}"
    number = "tl.float64" if dtype == torch.float64 else "tl.float32"
    tf32 = dtype == torch.float32 and device.type == "cuda" and torch.backends.cuda.matmul.fp32_precision == "tf32"
    form = Form(element, number, ragged, True, "tf32" if tf32 else "ieee")
    # The tensor cores multiply 16 rows at a time, and more than one sequence costs them nothing. The interpreter's
    # tl.dot knows no bfloat16.
    dot = (batch > FEW_ROWS or form.tensor_cores) and not (interpreted() and dtype == torch.bfloat16)
    return replace(form, dot=dot)


def warps_for(rows: int) -> int:
    """The warps of a program: with fewer there are not registers enough for the results of so many sequences."""
    return 8 if rows == ROWS else 4


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
        division: how the work is divided.
        widths: the entries of each state.
        hidden: H.
        output: the entries of the output.
        heads: the blocks of the recurrent weights.
        like: a tensor on the device, of the dtype that is computed in, with the batch as its first size.
    """

    def __init__(
        self,
        kernel: Kernel,
        division: Division,
        widths: Mapping[str, int],
        hidden: int,
        output: int,
        heads: int,
        like: Tensor,
    ) -> None:
        self.kernel, self.division = kernel, division
        self.batch, self.hidden = like.shape[0], hidden
        self.sizes = dict(zip(SIZES, (self.batch, hidden, output)))
        self.parts = heads * -(-hidden // heads // division.units)
        plan = kernel.source.plan
        self.tensors: dict[str, Tensor] = {
            "scratch_units": like.new_empty(self.batch, plan.scratch["units"] * hidden),
            "scratch_output": like.new_empty(self.batch, plan.scratch["output"] * output),
            "partial": like.new_empty(plan.means, self.batch, self.parts),
        }
        self.rings = {name: like.new_empty(2, self.batch, width) for name, width in widths.items()}
        self.tensors |= {f"state:{name}": ring for name, ring in self.rings.items()}
        self.turn = 0  # where in the rings the states stand
        self.constants = {
            "ROWS": division.rows,
            "UNITS": division.units,
            "DEPTH": division.depth,
            "PARTS": _power(self.parts),
            "HELD": division.held,
            "TEAMS": kernel.source.teams,
            "TOGETHER": division.members > 1,
            "launch_cooperative_grid": division.members > 1,
            "num_warps": warps_for(division.rows),
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
        assert all(tensor.is_contiguous() for tensor in pointers)  # the kernel knows no strides
        moment = ((steps - 1, steps, -1) if back else (0, steps, 1)) + (self.turn, self.division.members)
        device, rows = pointers[0].device, -(-self.batch // self.division.rows)
        meetings = torch.zeros(rows * source.teams, dtype=torch.int64, device=device)
        given = (*pointers, meetings, *moment, *self.sizes.values())
        with _on(device):
            self.kernel.whole[(rows, source.teams, self.division.members)](*given, **self.constants)
        self.turn = (self.turn + steps) % 2
