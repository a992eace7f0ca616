"""Teams of programs in Triton's interpreter, which by itself runs one program after the other, to its end.

Here each program of a launch has a thread. One runs at a time; whenever it counts itself in at a meeting, or looks
whether all have arrived, another one goes on, drawn at random. A program that does not wait where it should runs ahead
of what it needs.
"""

from __future__ import annotations

import inspect
import itertools
import random
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from holdfast.engines.triton import kernels, run
from holdfast.engines.triton.emit import Form, Source
from holdfast.engines.triton.kernels import Division
from tests.support import DEVICE


def work_in_teams(monkeypatch: pytest.MonkeyPatch, members: int | None) -> None:
    """Let each team have so many members, also where one would do; on a GPU they really run at the same time.

    Args:
        monkeypatch: pytest's.
        members: how many; None for one a block, which holds its weights if it can.
    """

    def divide(batch: int, hidden: int, heads: int, source: Source, form: Form, about: kernels.Device) -> Division:
        found = kernels.divide(batch, hidden, heads, source, form, about)
        if members is not None:
            return replace(found, units=16, members=members, held=False)
        blocks = heads // source.teams * -(-hidden // heads // 16)
        if source.teams != heads:  # no weight can be held as one piece
            return replace(found, units=16, members=blocks, held=False)
        return replace(found, units=16, depth=max(16, kernels._power(hidden // heads)), members=blocks, held=True)

    monkeypatch.setattr(run, "divide", divide)
    if DEVICE.type == "cuda":
        return
    from triton.runtime import interpreter

    class Executor(interpreter.GridExecutor):  # type: ignore[misc]
        def __call__(self, *given: Any, **options: Any) -> None:
            known = {name: value for name, value in options.items() if name in self.arg_names}
            scope = interpreter._patch_lang(self.fn)
            try:
                bound = inspect.getcallargs(self.fn, *given, **known)
                arguments = {n: a if n in self.constexprs else interpreter._implicit_cvt(a) for n, a in bound.items()}
                interpreter.interpreter_builder.set_grid_dim(*self.grid)
                _Launch(self.grid).run(lambda: self.fn(**arguments))
            finally:
                scope.restore()

    monkeypatch.setattr(interpreter, "GridExecutor", Executor)
    builder, plain = type(interpreter.interpreter_builder), interpreter.interpreter_builder.create_atomic_rmw

    def atomic(_: Any, *given: Any) -> Any:
        found = plain(*given)
        _Launch.now.hand_over()
        return found

    monkeypatch.setattr(builder, "create_atomic_rmw", atomic)


class _Launch:
    """The programs of a launch, of which one runs at a time."""

    now: _Launch

    def __init__(self, grid: tuple[int, ...]) -> None:
        self.running = list(itertools.product(*map(range, grid)))
        self.draw = random.Random(len(self.running))
        self.changed = threading.Condition()
        self.failures: list[BaseException] = []
        self.mine = threading.local()
        self.choose()

    def choose(self) -> None:
        if self.running:
            self.turn = self.draw.choice(self.running)

    def run(self, function: Any) -> None:
        """Run a function once for each program; returns when all have come to their end."""
        _Launch.now = self
        threads = [threading.Thread(target=self.program, args=(index, function)) for index in list(self.running)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def program(self, index: tuple[int, ...], function: Any) -> None:
        self.mine.index = index
        self.wait()
        try:
            with np.errstate(all="ignore"):  # a thread has settings of its own
                function()
        except BaseException as failure:
            self.failures.append(failure)
        with self.changed:
            self.running.remove(index)
            self.choose()
            self.changed.notify_all()

    def hand_over(self) -> None:
        """Let another one go on."""
        with self.changed:
            self.choose()
            self.changed.notify_all()
        self.wait()

    def wait(self) -> None:
        from triton.runtime.interpreter import interpreter_builder

        with self.changed:
            self.changed.wait_for(lambda: self.turn == self.mine.index or bool(self.failures))
        if self.failures:
            raise RuntimeError("another program has failed")
        interpreter_builder.set_grid_idx(*self.mine.index)
