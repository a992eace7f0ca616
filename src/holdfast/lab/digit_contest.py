"""A contest on a digit task: each contestant learns for some minutes, and is then tested, once.

The folder of the contest has a run's folder for each training (`lstm-0`: the LSTM with the seed 0), and in it
`result.json` when the training has ended. What is there is not done again; a training that was stopped goes on from its
latest checkpoint.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from holdfast.training import (
    MODEL,
    Diverged,
    Quiet,
    Run,
    Training,
    Watcher,
    devices,
    make,
    write_atomically,
)

from .contestants import CONTESTANTS, Reader, initialised
from .digits import DIGITS, DigitOptions, DigitProblem, Digits, DigitTask
from .folder import open_folder

RESULT = "result.json"


@dataclass(frozen=True)
class DigitEntry:
    """One contestant, one seed."""

    contestant: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.contestant}-{self.seed}"


@dataclass(frozen=True)
class DigitPlan:
    """What is held.

    Attributes:
        task: its name.
        contestants: their names.
        seeds: how many, from 0 on.
        options: how networks are trained; each entry has its own seed.
    """

    task: str
    contestants: tuple[str, ...]
    seeds: int
    options: DigitOptions

    def entries(self) -> list[DigitEntry]:
        """All that are to be trained, seed by seed, so that what is there after a stop is comparable."""
        return [DigitEntry(who, seed) for seed in range(self.seeds) for who in self.contestants]

    @property
    def way(self) -> DigitTask:
        """The task."""
        return DIGITS[self.task]


@dataclass(frozen=True)
class DigitRecord:
    """What became of an entry: its result.json.

    Attributes:
        contestant, seed: of the entry.
        valid: the best share of validation images that were recognised; None if the training was given up before any
            evaluation.
        test: the share of test images that this model recognised.
        images: how many images were learned from, each counted as often as it was.
        seconds: how long that took.
        parameters: how many numbers the model has.
        curve: the share of validation images that were recognised after so many images, in pairs.
        given_up: whether the training ended early because its loss was not finite.
    """

    contestant: str
    seed: int
    valid: float | None
    test: float | None
    images: int
    seconds: float
    parameters: int
    curve: list[tuple[int, float]]
    given_up: bool

    @property
    def entry(self) -> DigitEntry:
        """Whose it is."""
        return DigitEntry(self.contestant, self.seed)


def _unwatched(entry: DigitEntry) -> AbstractContextManager[Watcher]:
    return nullcontext(Quiet())


def hold(
    plan: DigitPlan,
    digits: Digits,
    folder: Path,
    watch: Callable[[DigitEntry], AbstractContextManager[Watcher]] = _unwatched,
    told: Callable[[DigitRecord, int, int], None] | None = None,
) -> list[DigitRecord]:
    """Hold a contest into a folder, and go on with what a stopped one has there.

    Args:
        plan: what is held.
        digits: the images.
        folder: where it is written; made if it is not there.
        watch: makes who is told what happens in an entry's training.
        told: called with each record, how many there are, and of how many.

    Raises:
        ContestError: the folder holds something else.
        MissingExtra: a package is not installed that a run's folder needs.
        Interrupted: the user stopped it; it has been saved.
    """
    Run.check_packages(plan.options)
    about = {"task": plan.task, "recipe": asdict(plan.options), "digest of the data": digits.digest}
    open_folder(folder, about, {"contestants": plan.contestants, "seeds": plan.seeds})
    records: list[DigitRecord] = []
    for entry in plan.entries():
        path = folder / entry.name / RESULT
        if path.is_file():
            record = _read(path)
        else:
            with watch(entry) as watcher, torch.random.fork_rng([]):
                record = _trained(plan, entry, digits, folder / entry.name, watcher)
            write_atomically(path, json.dumps(asdict(record), indent=2) + "\n")
            if told is not None:
                told(record, len(records) + 1, len(plan.entries()))
        records.append(record)
    return records


def _read(path: Path) -> DigitRecord:
    values = json.loads(path.read_text(encoding="utf-8"))
    return DigitRecord(**{**values, "curve": [tuple(pair) for pair in values["curve"]]})


def _trained(plan: DigitPlan, entry: DigitEntry, digits: Digits, folder: Path, watcher: Watcher) -> DigitRecord:
    """Train into a run's folder, from where it is; then read the test images."""
    run = _opened(plan, entry, digits, folder)
    options = make(DigitOptions, run.config()["options"])
    problem = DigitProblem(plan.way, digits, entry.seed, options.batch_size)
    layer = CONTESTANTS[entry.contestant].make
    model = initialised(
        lambda: Reader(problem, lambda inputs: layer(inputs, problem.steps, options)),
        Generator().manual_seed(entry.seed),
    )
    with run.in_use(), devices(options) as place:
        training = Training(problem, model, options, place, run, watcher)
        given_up = not _to_the_end(training, run)
    valid, test = _measured(run, model, problem, digits) if (run.folder / MODEL).is_file() else (None, None)
    return DigitRecord(
        **asdict(entry),
        valid=valid,
        test=test,
        images=training.position.step * problem.batch_size,
        seconds=round(training.position.seconds, 2),
        parameters=sum(p.numel() for p in model.parameters()),
        curve=_curve(run, problem.batch_size),
        given_up=given_up,
    )


def _to_the_end(training: Training, run: Run) -> bool:
    """Go on from the latest checkpoint; False if the training was given up: what it has learned until then counts."""
    checkpoint = run.latest()
    if checkpoint is not None:
        training.restore(*checkpoint)
    run.rewind(training.position.step)
    try:
        training.run()
    except Diverged:
        return False
    finally:
        run.close()
    return True


def _opened(plan: DigitPlan, entry: DigitEntry, digits: Digits, folder: Path) -> Run:
    """The run of an entry, which is made if it is not there."""
    if folder.exists():
        run = Run.open(folder)
    else:
        options = {**asdict(plan.options), "seed": entry.seed}
        run = Run.create(folder, {"task": plan.task, "data": {"digest": digits.digest}, "options": options})
    run.facts = {"task": plan.task, "contestant": entry.contestant, "seed": entry.seed}
    return run


def _measured(run: Run, model: Reader, problem: DigitProblem, digits: Digits) -> tuple[float, float]:
    """The share of validation images that the best model recognised, and that of test images."""
    tensors, facts = run.model()
    model.load_state_dict(tensors)
    model.eval()
    return _right(facts["valid"]["error"]), _right(problem.measures(model, digits.test)["error"])


def _curve(run: Run, batch_size: int) -> list[tuple[int, float]]:
    evaluated = [line for line in run.metrics() if line.get("valid_error") is not None]
    return [(line["step"] * batch_size, _right(line["valid_error"])) for line in evaluated]


def _right(error: float) -> float:
    return round(1 - error, 6)  # exact: no part has a million images


@dataclass(frozen=True)
class DigitStanding:
    """What became of one contestant.

    Attributes:
        contestant: who.
        seeds: how often it was trained.
        test: the mean share of test images recognised, over the seeds; None where a training has no model.
        deviation: the standard deviation of that over the seeds; None of one.
        valid: the mean share of validation images recognised.
        images: the mean number of images learned from.
        seconds: the mean time of a training.
        parameters: how many numbers the model has.
        given_up: how many trainings ended early because the loss was not finite.
    """

    contestant: str
    seeds: int
    test: float | None
    deviation: float | None
    valid: float | None
    images: int
    seconds: float
    parameters: int
    given_up: int


def standings(records: Iterable[DigitRecord]) -> list[DigitStanding]:
    """The records by contestant, in the order in which they come.

    >>> records = [DigitRecord("gru", seed, 0.9, 0.8 + seed / 10, 500, 2.0, 99, [], False) for seed in (0, 1)]
    >>> [(s.contestant, s.seeds, round(s.test, 3), round(s.deviation, 3)) for s in standings(records)]
    [('gru', 2, 0.85, 0.071)]
    """
    groups: dict[str, list[DigitRecord]] = {}
    for record in records:
        groups.setdefault(record.contestant, []).append(record)
    return [_standing(group) for group in groups.values()]


def _standing(group: list[DigitRecord]) -> DigitStanding:
    test = [record.test for record in group if record.test is not None]
    valid = [record.valid for record in group if record.valid is not None]
    whole = len(test) == len(group)
    return DigitStanding(
        contestant=group[0].contestant,
        seeds=len(group),
        test=statistics.mean(test) if whole else None,
        deviation=statistics.stdev(test) if whole and len(test) > 1 else None,
        valid=statistics.mean(valid) if whole else None,
        images=round(statistics.mean(record.images for record in group)),
        seconds=statistics.mean(record.seconds for record in group),
        parameters=group[0].parameters,
        given_up=sum(record.given_up for record in group),
    )


def to_dict(plan: DigitPlan, records: Sequence[DigitRecord]) -> dict[str, Any]:
    """A contest as `--json` prints it."""
    return {
        "task": plan.task,
        "recipe": asdict(plan.options),
        "standings": [asdict(standing) for standing in standings(records)],
        "trainings": [asdict(record) for record in records],
    }
