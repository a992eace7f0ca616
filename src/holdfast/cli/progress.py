"""What long work shows while it runs: a bar on a terminal, a line for each evaluation elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.text import Text

from holdfast.training import Position

SMOOTHING = 0.98  # of the loss and the throughput that are shown


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
        columns = (
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[rate]}  {task.fields[measures]}"),
            TimeRemainingColumn(),
        )
        self.bars = Progress(*columns, console=console, disable=not self.lively)
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
            self.task = self.bars.add_task("", total=None, loss="", rate="", measures="")
        self.bars.update(
            self.task,
            completed=position.step,
            total=position.total or None,
            loss=f"{self.loss:.3f}",
            rate=f"{self.rate:,.0f} {self.unit}/s",
            measures=self.measures,
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
