"""`holdfast lab`: who learns a task in which something must be remembered, and how fast."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Optional, get_args

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from holdfast.lab import CONTESTANTS, HMM, PROBLEMS
from holdfast.lab.contest import Plan, Record, hold, standings, to_dict
from holdfast.lab.digit_contest import DigitPlan
from holdfast.lab.digits import DIGITS
from holdfast.lab.folder import ContestError
from holdfast.lab.pictures import HEADINGS, cells, contest_page, needed_by_lag, success_by_lag
from holdfast.lab.problem import Start
from holdfast.naming import nearest
from holdfast.training import Interrupted, write_atomically

from .digits import hold_digits
from .errors import Refused, Screen, Stopped
from .results import print_standings

REPORT = "report.html"
_STARTS = get_args(Start)


def lab(
    task: Annotated[str, typer.Argument(metavar="TASK", help="One of the tasks above.", show_default=False)],
    lag: Annotated[
        str, typer.Option("--lag", metavar="N,N,…", help="How long something must be remembered; the task's own.")
    ] = "",
    contestants: Annotated[
        str, typer.Option("--cells", metavar="NAME,NAME,…", help="Who takes part.")
    ] = "lstm,gru,rnn",
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="K", help="How often each tries.")] = 3,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--data", metavar="DIR", help="The four idx files, plain or .gz; for the digits only."),
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(
            "--minutes",
            min=0.0,
            metavar="M",
            help="For all of it, shared evenly; 0: no limit. For the digits: of each training; 0: the task's own.",
        ),
    ] = 0.0,
    sequences: Annotated[
        int, typer.Option("--sequences", min=0, metavar="N", help="After so many it has failed; 0: the task's own.")
    ] = 0,
    units: Annotated[int, typer.Option("--units", min=0, metavar="N", help="Of each layer; 0: the task's own.")] = 0,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", min=0.0, metavar="X", help="Adam's; 0: the task's own.")
    ] = 0.0,
    start: Annotated[
        str, typer.Option("--start", metavar="|".join(_STARTS), help="What forget gates start from; the task's own.")
    ] = "",
    norm: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--norm/--no-norm", help="Layer norm in every contestant; the task's own.", show_default=False),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=0, metavar="N", help="Trials at once, not of digits; 0: one a core."),
    ] = 0,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--out",
            metavar="DIR",
            help="Its folder; a stopped contest goes on there. [default: holdfast-lab/TASK]",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress and no result.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """See `_help`: the text comes from the tasks and the contestants."""
    _one_of("task", task, [*PROBLEMS, *DIGITS])
    recipe: dict[str, Any] = {
        "units": units,
        "learning_rate": learning_rate,
        "start": start and _one_of("start", start, _STARTS),
    }
    recipe = {name: value for name, value in recipe.items() if value} | ({} if norm is None else {"norm": norm})
    names, folder = _listed(contestants), out or Path("holdfast-lab", task)
    try:
        if task in DIGITS:
            _refuse_for_digits(task, names, {"--lag": lag, "--sequences": sequences, "--workers": workers})
            recipe |= {"minutes": minutes} if minutes else {}
            digit_plan = DigitPlan(task, _known(names, CONTESTANTS), seeds, replace(DIGITS[task].options, **recipe))
            hold_digits(digit_plan, _needed(task, data), folder / REPORT, quiet, as_json)
        else:
            if data is not None:
                raise Refused(f"--data is for {', '.join(DIGITS)}; the sequences of {task} are generated")
            recipe |= {"sequences": sequences} if sequences else {}
            plan = _plan(task, lag, _known(names, [*CONTESTANTS, HMM]), seeds)
            plan = replace(plan, recipe=replace(plan.recipe, **recipe))
            records = _held(plan, folder, workers or _cores(), minutes or math.inf, quiet or as_json)
            _tell(plan, records, folder / REPORT, quiet, as_json)
    except (KeyboardInterrupt, Interrupted):
        raise Stopped(f"the same command goes on with what is in {folder}") from None
    except ContestError as error:
        raise Refused(str(error)) from None


def _tell(plan: Plan, records: Sequence[Record], report: Path, quiet: bool, as_json: bool) -> None:
    """Write the report, and say what came out."""
    write_atomically(report, contest_page(plan, records))
    if len(plan.lags) > 1:
        write_atomically(report.with_name("success.svg"), success_by_lag(plan, records))
        write_atomically(report.with_name("needed.svg"), needed_by_lag(plan, records))
    if as_json:
        typer.echo(json.dumps(to_dict(plan, records)))
    elif not quiet:
        problem = PROBLEMS[plan.task]
        about = [f"{plan.task}: {problem.summary} ({problem.source})", f"learned: {problem.criterion}"]
        rows = [(standing.contestant, cells(standing)) for standing in standings(records)]
        print_standings(about, HEADINGS, rows)
        typer.echo(f"The report is {report}")


def _help() -> str:
    """What the command does, its tasks and who can take part."""
    tasks = "\n".join(f"  {name:<16}{cls.summary}" for name, cls in PROBLEMS.items())
    digits = "\n".join(f"  {name:<16}{one.summary}" for name, one in DIGITS.items())
    cells = "\n".join(f"  {name:<16}{one.summary}" for name, one in CONTESTANTS.items())
    return (
        "Let networks try a task in which something must be remembered for long.\n\n"
        "Sequences are generated; each contestant is trained on the same ones until fresh sequences are answered as "
        "the task's criterion asks, or it has seen enough. What is said is how often it was learned, and after how "
        "many sequences.\n\n"
        f"\b\nTasks:\n{tasks}\n\n"
        "Tasks on handwritten digits need the four idx files of the MNIST database (or others of that format): --data "
        "DIR. Each contestant learns for some minutes; what is said is the share of test images that it recognises, "
        "read once, by the model that was best on the last 5,000 of the training images, which it does not learn from."
        "\n\n"
        f"\b\nTasks on digits:\n{digits}\n\n"
        f"\b\nContestants:\n{cells}\n  {HMM:<16}a hidden Markov model, for tasks of symbols (holdfast[lab])\n\n"
        "Exit codes: 0, held; 2, an argument is not as it must be; 130, stopped by Ctrl-C: the same command goes on."
    )


HELP = _help()


def _plan(task: str, lag: str, contestants: tuple[str, ...], seeds: int) -> Plan:
    problem = PROBLEMS[task]
    try:
        lags = [int(one) for one in _listed(lag)] or [problem.default_lag]
    except ValueError:
        raise Refused(f"--lag must be whole numbers, with commas between; got {lag!r}") from None
    return Plan(task, tuple(dict.fromkeys(lags)), contestants, seeds, problem.recipe)


def _refuse_for_digits(task: str, contestants: Sequence[str], given: Mapping[str, object]) -> None:
    """Refuse what makes no sense where the data are given."""
    reasons = {
        "--lag": "its sequences are as long as the images make them",
        "--sequences": "a training ends with its --minutes",
        "--workers": "its trainings come one after the other, each on all threads",
    }
    for flag, value in given.items():
        if value:
            raise Refused(f"{flag} is not for {task}: {reasons[flag]}")
    if HMM in contestants:
        raise Refused(f"a hidden Markov model takes part in tasks of symbols only; {task} is of numbers")


def _needed(task: str, data: Path | None) -> Path:
    if data is None:
        raise Refused(f"{task} needs --data, the folder of the four idx files")
    return data


def _known(names: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """The contestants of these names, each once."""
    if not names:
        raise Refused("--cells names nobody")
    return tuple(dict.fromkeys(_one_of("contestant", name, known) for name in names))


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _one_of(what: str, name: str, known: Any) -> Any:
    if name not in known:
        raise Refused(f"there is no {what} {name!r}{nearest(name, list(known))}; known: {', '.join(known)}")
    return name


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _held(plan: Plan, folder: Path, workers: int, minutes: float, quiet: bool) -> list[Record]:
    """The contest, with a bar on a terminal and a line for each trial elsewhere."""
    console = Screen(stderr=True)
    lively = console.is_interactive and not quiet
    columns = (
        TextColumn(plan.task),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("trials  {task.fields[last]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not lively) as bars:
        total = len(plan.entries())
        bar = bars.add_task("", total=total, last="")

        def told(record: Record, done: int, of: int) -> None:
            line = f"{record.contestant}, lag {record.lag}, seed {record.seed}: {_said(record)}"
            bars.update(bar, completed=done, last=line)
            if not lively and not quiet:
                typer.echo(f"{done} of {of}: {line}, {record.seconds:.0f} s", err=True)

        return hold(plan, folder, workers, minutes, told)


def _said(record: Record) -> str:
    how = "learned after" if record.solved else "out of time after" if record.out_of_time else "not learned in"
    return f"{how} {record.sequences:,} sequences"
