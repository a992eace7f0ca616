"""What long work shows while it runs: a bar on a terminal, a line for each evaluation elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import Progress, ProgressColumn, TaskID
from rich.progress import Task as Work
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from holdfast.training import Position

SMOOTHING = 0.98  # of the loss and the throughput that are shown
_GAP = 2  # columns between two parts of a line
_BAR = 8, 24  # columns that a bar takes at least and at most


class _Line(ProgressColumn):
    """The line of a training: its steps and the time left, and of all else as much as there is room for."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Work) -> Table:
        """The line as it stands now."""
        of = f" of {task.total:,.0f}" if task.total else ""
        parts = [f"step {task.completed:,.0f}{of}"]
        room = self._console.width - len(parts[0])
        left = [] if task.time_remaining is None else [f"{_clock(task.time_remaining)} left"]
        for part in filter(None, [*left, *task.fields["shown"]]):
            if _GAP + len(part) <= room:
                parts.append(part)
                room -= _GAP + len(part)
        line = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
        cells: list[Text | ProgressBar] = [Text(part, no_wrap=True) for part in parts]
        if room - _GAP >= _BAR[0]:
            width = min(room - _GAP, _BAR[1])
            cells.insert(0, ProgressBar(task.total, task.completed, width, pulse=not task.total))
        line.add_row(*cells)
        return line


def _clock(seconds: float) -> str:
    """A span of time as a clock shows it.

    >>> _clock(9), _clock(3725.6)
    ('0:09', '1:02:06')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Bar:
    """A watcher that shows loss, throughput and time left on standard error.

    Args:
        unit: what the throughput counts.
        quiet: whether to show nothing but what went wrong.
    """

    def __init__(self, unit: str, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self.unit, self.quiet = unit, quiet
        self.lively = console.is_interactive and not quiet  # a terminal that can draw over what it has drawn
        self.loss = self.rate = 0.0
        self.seen = 0
        self.measures = ""
        self.bars = Progress(_Line(console), console=console, disable=not self.lively)
        self.task: TaskID | None = None
        self.last = time.perf_counter()
        self.doing = Spinner("dots", style="green")  # before the first step and after the last
        self.beside = Live(self.doing, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        self.beside.stop()

    def busy(self, what: str) -> None:
        """Something beside the steps is being done."""
        if not self.lively:
            return
        self.bars.stop()
        self.doing.text = Text(what)
        self.beside.start()

    def step(self, position: Position, loss: float, units: int, seconds: float) -> None:
        """A step has been made."""
        now = time.perf_counter()
        rate = units / max(now - self.last, 1e-9)
        self.last = now
        share = SMOOTHING if self.seen else 0.0
        if loss == loss:
            self.loss = share * self.loss + (1 - share) * loss
        self.rate = share * self.rate + (1 - share) * rate if self.seen > 1 else rate
        self.seen += 1
        if not self.lively:
            return
        if self.task is None:
            self.beside.stop()
            self.bars.start()
            self.task = self.bars.add_task("", total=None, shown=[])
        self.bars.update(
            self.task,
            completed=position.step,
            total=position.total or None,
            shown=[f"loss {self.loss:.3f}", self.measures, f"{self.rate:,.0f} {self.unit}/s"],
        )

    def evaluated(self, position: Position, measures: Mapping[str, float], better: bool) -> None:
        """The model has been evaluated."""
        name, value = next(iter(measures.items()))
        self.measures = f"valid {name} {value:.4f}, best {position.best:.4f}"
        if not self.lively and not self.quiet:
            of = f" of {position.total:,}" if position.total else ""
            typer.echo(
                f"step {position.step:,}{of}: loss {self.loss:.4f}, {self.measures}, {self.rate:,.0f} {self.unit}/s",
                err=True,
            )

    def skipped(self, position: Position, what: str) -> None:
        """A step was left out."""
        typer.echo(
            f"holdfast: step {position.step:,} was left out: its {what} is not finite ({position.skipped} so far)",
            err=True,
        )
