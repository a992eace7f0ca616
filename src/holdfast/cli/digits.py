"""The part of `holdfast lab` for the tasks on digits, whose data the user has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from holdfast.lab.digit_contest import DigitEntry, DigitPlan, DigitRecord, hold, standings, to_dict
from holdfast.lab.digit_pictures import HEADINGS, cells, digit_page, shown
from holdfast.lab.digits import read_digits
from holdfast.training import Watcher, write_atomically

from .progress import Bar
from .results import print_standings


def hold_digits(plan: DigitPlan, data: Path, report: Path, quiet: bool, as_json: bool) -> None:
    """Hold a contest on a digit task, and say what came out.

    Args:
        plan: what is held.
        data: the folder of the images.
        report: where its page is written, in the folder of the contest.
        quiet: whether to say nothing.
        as_json: whether to say it as one JSON object.
    """
    silent = quiet or as_json

    @contextmanager
    def watch(entry: DigitEntry) -> Iterator[Watcher]:
        if not silent:
            typer.echo(f"{entry.contestant}, seed {entry.seed}: {plan.options.minutes:g} minutes", err=True)
        with Bar("images", silent) as bar:
            yield bar

    def told(record: DigitRecord, done: int, of: int) -> None:
        if not silent:
            typer.echo(f"{done} of {of}: {record.contestant}, seed {record.seed}: {_said(record)}", err=True)

    records = hold(plan, read_digits(data), report.parent, watch, told)
    write_atomically(report, digit_page(plan, records))
    if as_json:
        typer.echo(json.dumps(to_dict(plan, records)))
    elif not quiet:
        rows = [(standing.contestant, cells(standing)) for standing in standings(records)]
        print_standings([f"{plan.task}: {plan.way.summary}"], HEADINGS, rows)
        typer.echo(f"The report is {report}")


def _said(record: DigitRecord) -> str:
    early = "given up, its loss was not finite; " if record.given_up else ""
    return (
        f"{early}{shown(record.test)} of the test set, {shown(record.valid)} of the validation images, "
        f"{record.seconds:.0f} s"
    )
