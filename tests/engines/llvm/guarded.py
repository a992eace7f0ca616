"""Calls in which all that a kernel touches lies right before, or right after, a page that nobody may touch.

`python -m tests.engines.llvm.guarded --side end --count 20 --seed 0` draws calls at random and makes each of them; a
kernel that reads or writes outside its memory ends the process by a signal.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import mmap
import random
from collections.abc import Sequence
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

import holdfast.engines.llvm.tile_matmul as tiles
from holdfast.engines.llvm import call as kernel_call
from holdfast.engines.llvm import frame, learned, rows, run, threads
from holdfast.engines.steps import around
from tests.engines.llvm.calls import Call, inference, make, outcome, take
from tests.support import assert_all_close

HIDDEN = (1, 7, 8, 9, 15, 16, 17, 31, 33, 100, 128)
CANARY, NAN = 0xA5, 0xFF  # in what lies between the memory and the page; in memory that nobody has written to
TABLES = ("start", "order", "lengths")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
PROT_NONE = 0
FAILED = ctypes.c_void_p(-1).value


class Guards:
    """Guarded memory, at one side of its pages.

    Args:
        side: "end" if the memory ends where a protected page starts, "start" if it starts where one ends.
    """

    def __init__(self, side: str) -> None:
        self.side = side
        self.on = False
        self.together = False  # whether the states are one piece of memory, as they are where they are put aside
        self.mapped: list[tuple[int, int]] = []
        self.slack: list[tuple[int, int]] = []
        self.buffers = 0  # how many there have been

    def memory(self, size: int, filled: int = NAN) -> int:
        """The address of so many bytes."""
        page = mmap.PAGESIZE
        room = -(-size // page) * page
        base = _libc.mmap(None, room + 2 * page, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        assert base not in (None, FAILED), "no memory"
        assert not _libc.mprotect(base + page, room, mmap.PROT_READ | mmap.PROT_WRITE), "no protection"
        self.mapped.append((base, room + 2 * page))
        self.buffers += 1
        ctypes.memset(base + page, CANARY, room)
        address = base + page + (room - size if self.side == "end" else 0)
        ctypes.memset(address, filled, size)
        if room > size:
            self.slack.append((base + page if self.side == "end" else address + size, room - size))
        return int(address)

    def copy(self, source: int, size: int) -> int:
        """The address of a copy of some memory."""
        address = self.memory(size)
        ctypes.memmove(address, source, size)
        return address

    def tensor(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor, from its first number to its last, laid out alike."""
        bytes_of_one = tensor.element_size()
        span = (1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride()))) * bytes_of_one
        if not tensor.numel():
            return tensor
        memory = (ctypes.c_char * span).from_address(self.copy(tensor.data_ptr(), span))
        return torch.frombuffer(memory, dtype=tensor.dtype).as_strided(tensor.shape, tensor.stride())

    def empty(self, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        """A tensor that nobody has written to."""
        size = math.prod(shape) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self.memory(size))
        return torch.frombuffer(memory, dtype=dtype).view(shape)

    def check(self) -> None:
        """Nothing was written on the other side either."""
        for address, size in self.slack:
            assert ctypes.string_at(address, size) == bytes([CANARY]) * size, "written beside its memory"

    def release(self) -> None:
        """Give all of it back."""
        for base, size in self.mapped:
            _libc.munmap(base, size)
        self.mapped, self.slack = [], []


class _States:
    """Stands for a call's working memory, of which only the states' part is asked for."""

    def __init__(self, carried: Tensor | None) -> None:
        self.carried = carried

    def __getitem__(self, part: slice) -> Tensor | None:
        return self.carried


def install(guards: Guards) -> None:
    """While the guards are on, everything that a kernel touches is guarded memory, the arguments themselves too."""
    room, arguments = frame.Frame.room, frame.Frame.arguments
    matmul, product, tile_matmul, empty = learned.matmul, learned.product, learned.tile_matmul, tiles.empty
    go = kernel_call.Call.run

    def new_room(self: Any, name: str, size: int) -> None:
        self.__dict__.setdefault("exact", []).append((self.kernel.place[name], size, name, self.bytes))
        room(self, name, size)

    def new_arguments(self: Any) -> tuple[Any, Any]:
        if not guards.on:
            return arguments(self)
        found = self.type.from_buffer_copy(self.template)
        size = self.carried.stop - self.carried.start
        states = guards.empty(torch.uint8, (size,)) if guards.together and size else None
        for place, size, name, offset in self.exact:
            if states is not None and self.carried.start <= offset < self.carried.stop:
                found[place] = states.data_ptr() + offset - self.carried.start
            else:
                found[place] = guards.memory(size, NAN if offset >= self.blank.stop and name != "barrier" else 0)
        if states is not None:  # the factors among them are blank
            states[: max(0, self.blank.stop - self.carried.start)] = 0
        known = {f"table {k}.at": t for k, t in enumerate(self.tables)}
        known |= {f"product {k}.offsets": t for k, t in enumerate(self.offsets)}
        for name, table in (known | {name: getattr(self, name) for name in TABLES}).items():
            assert isinstance(table, np.ndarray)
            found[self.kernel.place[name]] = guards.copy(table.ctypes.data, table.nbytes)
        return found, _States(states)

    def new_go(self: Any, *given: Any) -> None:
        if not guards.on:
            return go(self, *given)
        before, copies = list(self.arguments), []
        for place, tensor in self.alive.items():
            assert tensor.is_contiguous()
            size = tensor.numel() * tensor.element_size()
            if size:
                rows_before = tensor.data_ptr() - before[place]
                copies.append((tensor.data_ptr(), guards.copy(tensor.data_ptr(), size), size))
                self.arguments[place] = copies[-1][1] - rows_before
        compiled = self.kernel.run

        def guarded(address: int, threads: int) -> None:
            compiled(guards.copy(address, ctypes.sizeof(self.arguments)), threads)

        with mock.patch.object(self.kernel, "run", guarded):
            go(self, *given)
        guards.check()
        for own, copy, size in copies:  # what the kernel wrote goes to where it was meant to go
            if ctypes.string_at(own, size) != ctypes.string_at(copy, size):
                ctypes.memmove(own, copy, size)
        for place in self.alive:
            self.arguments[place] = before[place]
        return None

    def new_matmul(result: Tensor, a: Tensor, b: Tensor, *rest: Any) -> None:
        if not guards.on:
            return matmul(result, a, b, *rest)
        copies = [guards.tensor(t) for t in (result, a, b)]
        matmul(*copies, *rest)
        result.copy_(copies[0])
        guards.check()
        return None

    def new_product(a: Tensor, b: Tensor, *rest: Any) -> Tensor:
        if not guards.on:
            return product(a, b, *rest)
        found = product(guards.tensor(a), guards.tensor(b), *rest).clone()
        guards.check()
        return found

    def new_tile_matmul(result: Tensor, a: Tensor, b: Tensor, *rest: Any) -> None:
        if not guards.on:
            return tile_matmul(result, a, b, *rest)
        copies = [guards.tensor(t) for t in (result, a, b)]
        tile_matmul(*copies, *rest)
        result.copy_(copies[0])
        guards.check()
        return None

    def new_empty(dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        return guards.empty(dtype, shape) if guards.on else empty(dtype, shape)

    learned.matmul, learned.product, learned.tile_matmul = new_matmul, new_product, new_tile_matmul
    tiles.empty = new_empty
    frame.Frame.room, frame.Frame.arguments = new_room, new_arguments
    kernel_call.Call.run = new_go


OPTIONS: tuple[dict[str, Any], ...] = (
    {"kind": "LSTM"},
    {"kind": "LSTM", "peephole": True, "zoneout": (0.3, 0.3), "layer_norm": True},
    {"kind": "LSTM", "heads": True, "proj_size": True, "zoneout": (0.3, 0.0)},
    {"kind": "GRU", "reset_after": False, "bias": False},
    {"kind": "SLSTM", "heads": True, "recurrent_dropout": 0.3},
    {"kind": "LSTM", "bidirectional": True, "proj_size": True, "peephole": True, "grad_clip": 0.05},
    {"kind": "RNN", "layer_norm": True, "heads": True},
    {"kind": "GRU", "zoneout": 0.3, "layer_norm": True},
    {"kind": "LSTM", "layer_norm": True, "proj_size": True, "heads": True, "zoneout": (0.3, 0.3)},
    {"kind": "SLSTM", "proj_size": True, "zoneout": (0.3, 0.3)},
    {"kind": "GRU", "heads": True, "num_layers": 2},
    {"kind": "LSTM", "coupled": True, "cell_clip": 0.4, "recurrent_dropout": 0.3, "learn_state": True},
)


def draw(rng: random.Random, number: int, half: bool) -> tuple[Call, dict[ModuleType, dict[str, int]], int]:
    """A call, in bfloat16 or not, constants of the engine's, and a number of threads."""
    options = dict(OPTIONS[number % len(OPTIONS)])
    hidden = rng.choice(HIDDEN[1:] if options.get("layer_norm") else HIDDEN)
    heads = next((n for n in range(2, hidden + 1) if hidden % n == 0), 1) if options.pop("heads", False) else 1
    if heads > 1:
        options["heads"] = heads
    if options.pop("proj_size", False) and hidden // heads > 1:
        options["proj_size"] = heads * rng.randrange(1, hidden // heads)
    call = make(
        steps=rng.randint(1, 7),
        batch=rng.randint(1, 70 if half else 20),
        features=rng.randint(1, 70 if half else 20),
        hidden=hidden,
        dtype=torch.bfloat16 if half else rng.choice([torch.float32, torch.float64]) if number % 5 else torch.float32,
        recompute=number % 4 == 1,
        ragged=number // len(OPTIONS) % 2 == 1 or rng.random() < 0.5,
        resets=number % 3 == 0,
        seed=number,
        **options,
    )
    within = rng.random() < 0.5
    batch = 0 if within else 1 << 60
    of_run = {"WITHIN_FEATURES": 0, "WITHIN_BATCH": batch, "WITHIN_BATCH_SMALL": batch}
    of_rows = {name: getattr(rows, name) for name in ("SPAN_ROWS", "SPAN_ROWS_LIBRARY", "SPAN_BYTES")}
    if rng.random() < 0.5:
        of_rows = {"SPAN_ROWS": 8, "SPAN_ROWS_LIBRARY": 8, "SPAN_BYTES": 0}
    return call, {run: of_run, rows: of_rows}, rng.choice([1, 1, 2, 3])


def make_all(call: Call, guards: Guards) -> dict[str, Tensor]:
    """Inference, training and the way back with guards."""
    guards.on, guards.together = True, call.layer.recompute
    try:
        return {"inference": inference(call), **outcome(call, "llvm")}
    finally:
        guards.on = False
        guards.release()


def sabotage(how: str) -> None:
    """Make a mistake that kernels cannot notice."""
    blocks, init = frame.blocks, frame.Frame.__init__

    def wrong(*given: Any) -> Any:
        found = blocks(*given)
        if how == "a unit too many":
            found[-1, 1] += 1
        else:
            found[0, 0] -= 1
        return found

    def wrong_row(self: Any, *given: Any) -> None:
        init(self, *given)
        if "y.row" in self.kernel.place:
            self.template[self.kernel.place["y.row"]] += 1

    if how == "rows too far apart":
        frame.Frame.__init__ = wrong_row
    else:
        frame.blocks = wrong


def main() -> None:
    """Draw calls and make them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=["start", "end", "both"], required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kinds", type=int, default=len(OPTIONS), help="of how many kinds the layers are")
    parser.add_argument("--half", default="", help="the path of bfloat16 that is taken")
    parser.add_argument("--sabotage", default="")
    given = parser.parse_args()
    sides = ["end", "start"] if given.side == "both" else [given.side]
    guards = Guards(sides[0])
    install(guards)
    if given.sabotage:
        sabotage(given.sabotage)
    if given.half:
        take(given.half, pytest.MonkeyPatch())
    rng = random.Random(given.seed)
    for k in range(given.count):
        kind = k % given.kinds
        number = (given.seed * given.count + k) // given.kinds * len(OPTIONS) + kind
        call, constants, team = draw(rng, number, bool(given.half))
        torch.set_num_threads(team)
        with (
            mock.patch.multiple(run, **constants[run]),
            mock.patch.multiple(rows, **constants[rows]),
            mock.patch.multiple(around, STEPS_AGAIN=2, ROWS_AGAIN=1),
            mock.patch.multiple(threads, SMALL=0, SMALL_STEP=0),
        ):
            for guards.side in sides:
                got = make_all(call, guards)
                wrong = [name for name, t in got.items() if not t.isfinite().all()]
                assert not wrong, f"call {number}: {wrong} have taken something from memory that nobody wrote to"
                assert_all_close(got, {"inference": inference(call), **outcome(call, "llvm")}, call.x.dtype)
    print(f"{given.count * len(sides)} calls, {guards.buffers} buffers")


if __name__ == "__main__":
    main()
