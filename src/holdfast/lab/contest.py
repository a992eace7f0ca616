"""A contest: who learns a task, at which lags, with how many of the seeds, and after how many sequences."""

from __future__ import annotations

import json
import math
import multiprocessing
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from holdfast.extras import require
from holdfast.training import write_atomically

from .contestants import CONTESTANTS, HMM, Reader, initialised
from .folder import ContestError, open_folder
from .hidden_markov import HiddenMarkov
from .problem import Problem, Recipe
from .registry import PROBLEMS
from .trial import Network, Pupil, attempt

TRIALS = "trials.jsonl"


@dataclass(frozen=True)
class Entry:
    """One contestant, one lag, one seed."""

    contestant: str
    lag: int
    seed: int


@dataclass(frozen=True)
class Record:
    """What became of an entry: a line of trials.jsonl.

    Attributes:
        contestant, lag, seed: of the entry.
        solved: whether the task was learned.
        sequences: how many were needed, or seen in vain.
        seconds: how long that took.
        wrong, tested: fresh sequences at the end that were not answered correctly, and of how many.
        error: their mean error.
        curve: the mean error after so many sequences, in pairs.
        out_of_time: whether the time ended it.
    """

    contestant: str
    lag: int
    seed: int
    solved: bool
    sequences: int
    seconds: float
    wrong: int
    tested: int
    error: float
    curve: list[tuple[int, float]]
    out_of_time: bool

    @property
    def entry(self) -> Entry:
        """Whose it is."""
        return Entry(self.contestant, self.lag, self.seed)


@dataclass(frozen=True)
class Plan:
    """What is held.

    Attributes:
        task: its name.
        lags: the lags.
        contestants: their names.
        seeds: how many, from 0 on.
        recipe: how networks are trained.
    """

    task: str
    lags: tuple[int, ...]
    contestants: tuple[str, ...]
    seeds: int
    recipe: Recipe

    def entries(self) -> list[Entry]:
        """All that are to be tried, seed by seed, so that what is there after a stop is comparable."""
        return [Entry(c, lag, seed) for seed in range(self.seeds) for lag in self.lags for c in self.contestants]

    def problem(self, lag: int) -> Problem:
        """The task at a lag."""
        return PROBLEMS[self.task](lag)


def tried(task: str, entry: Entry, recipe: Recipe, seconds: float = math.inf) -> Record:
    """Let one contestant try, on one thread: the same bits whatever else the machine does.

    >>> record = tried("order", Entry("gru", 10, 0), Recipe(sequences=64, check_every=32))
    >>> record.solved, record.sequences, len(record.curve)
    (False, 64, 3)
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _tried(PROBLEMS[task](entry.lag), entry, recipe, seconds)
    finally:
        torch.set_num_threads(threads)


def _tried(problem: Problem, entry: Entry, recipe: Recipe, seconds: float) -> Record:
    seeds = torch.randint(2**62, (4,), generator=torch.Generator().manual_seed(entry.seed)).tolist()
    of_problem, of_weights, of_training, of_judging = (torch.Generator().manual_seed(seed) for seed in seeds)
    problem.prepare(of_problem)
    pupil = _pupil(problem, entry, recipe, of_weights)
    found = attempt(pupil, problem, recipe, of_training, of_judging, seconds)
    return Record(
        **asdict(entry),
        solved=found.solved,
        sequences=found.sequences,
        seconds=round(found.seconds, 2),
        wrong=found.test.wrong,
        tested=found.test.tested,
        error=found.test.error,
        curve=[(point.sequences, point.error) for point in found.curve],
        out_of_time=found.out_of_time,
    )


def _pupil(problem: Problem, entry: Entry, recipe: Recipe, of_weights: torch.Generator) -> Pupil:
    if entry.contestant == HMM:
        return HiddenMarkov(problem, entry.seed)
    make, lag = CONTESTANTS[entry.contestant].make, problem.lag or problem.usual_length
    model = initialised(lambda: Reader(problem, lambda inputs: make(inputs, lag, recipe)), of_weights)
    return Network(model, problem, recipe)


def check(plan: Plan) -> None:
    """Refuse what cannot be held before anything is.

    Raises:
        ContestError: the message says what and why.
        MissingExtra: a contestant needs a package that is not installed.
    """
    for lag in plan.lags:
        try:
            problem = plan.problem(lag)
        except ValueError as error:
            raise ContestError(str(error)) from None
        if HMM in plan.contestants and not problem.symbols:
            raise ContestError(f"a hidden Markov model takes part in tasks of symbols only; {plan.task} is of numbers")
    if HMM in plan.contestants:
        require("hmmlearn.hmm", "lab")


def hold(
    plan: Plan,
    folder: Path,
    workers: int = 1,
    minutes: float = math.inf,
    told: Callable[[Record, int, int], None] | None = None,
) -> list[Record]:
    """Hold a contest into a folder; what a stopped one has there already is not tried again.

    Args:
        plan: what is held.
        folder: where it is written; made if it is not there.
        workers: how many processes try at once, each on one thread.
        minutes: the time for all of it; a trial gets its share of what is left.
        told: called with each record, how many there are, and of how many.

    Raises:
        ContestError: the folder holds something else.
    """
    check(plan)
    records = _opened(plan, folder)
    wanted = plan.entries()
    done = {record.entry for record in records}
    left = [entry for entry in wanted if entry not in done]
    records = [record for record in records if record.entry in set(wanted)]
    with (folder / TRIALS).open("a", encoding="utf-8") as file:
        for record in _all_tried(plan, left, workers, minutes):
            file.write(json.dumps(asdict(record)) + "\n")
            file.flush()
            records.append(record)
            if told is not None:
                told(record, len(records), len(wanted))
    order = {entry: k for k, entry in enumerate(wanted)}
    return sorted(records, key=lambda record: order[record.entry])


def _opened(plan: Plan, folder: Path) -> list[Record]:
    """The records that are there already."""
    about = {"task": plan.task, "recipe": asdict(plan.recipe)}
    open_folder(folder, about, {"lags": plan.lags, "contestants": plan.contestants, "seeds": plan.seeds})
    return _whole_lines(folder / TRIALS)


def _whole_lines(path: Path) -> list[Record]:
    """The records in a file; a last line that a killed process left unfinished is removed."""
    if not path.is_file():
        return []
    found, kept = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            break
        found.append(Record(**{**values, "curve": [tuple(pair) for pair in values["curve"]]}))
        kept.append(line + "\n")
    write_atomically(path, "".join(kept))
    return found


def _all_tried(plan: Plan, entries: Sequence[Entry], workers: int, minutes: float) -> Iterator[Record]:
    """The records of entries as they are there."""
    ends = time.monotonic() + 60 * minutes

    def share(left: int) -> float:
        return max(0.0, ends - time.monotonic()) * min(workers, left) / max(1, left)

    if workers == 1 or len(entries) < 2:
        for k, entry in enumerate(entries):
            yield tried(plan.task, entry, plan.recipe, share(len(entries) - k))
        return
    # A fresh interpreter for each: a process that has started threads must not be forked.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(entries)), fresh, initializer=_leave_stopping_to_the_parent) as pool:
        queue, running = list(entries), set[Future[Record]]()
        try:
            while queue or running:
                while queue and len(running) < workers:
                    left = share(len(queue) + len(running))
                    running.add(pool.submit(tried, plan.task, queue.pop(0), plan.recipe, left))
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                for one in ready:
                    yield one.result()
        except BrokenProcessPool:
            raise ContestError("a trial was ended from outside, perhaps for want of memory") from None
        except BaseException:
            for process in list(pool._processes.values()):  # there is no public way to stop what is running
                process.terminate()
            raise


def _leave_stopping_to_the_parent() -> None:
    """Ctrl-C reaches all processes of a terminal, and one of them is to answer it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True)
class Standing:
    """What became of one contestant at one lag.

    Attributes:
        contestant, lag: who, and where.
        solved, seeds: in how many trials the task was learned, of how many.
        sequences: the median of how many were needed, where it was learned; None if nowhere.
        most: the largest number that was needed; None if nowhere.
        seen: how many were seen in vain at most; None if it was always learned.
        wrong: the share of fresh sequences not answered correctly after training, where the task was learned.
        seconds: of all trials together.
        out_of_time: how many trials the time ended.
    """

    contestant: str
    lag: int
    solved: int
    seeds: int
    sequences: int | None
    most: int | None
    seen: int | None
    wrong: float | None
    seconds: float
    out_of_time: int


def standings(records: Iterable[Record]) -> list[Standing]:
    """The records by contestant and lag, in the order in which they come.

    >>> records = [tried("order", Entry("gru", 10, seed), Recipe(sequences=32, check_every=32)) for seed in (0, 1)]
    >>> [(s.contestant, s.lag, s.solved, s.seeds, s.seen) for s in standings(records)]
    [('gru', 10, 0, 2, 32)]
    """
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        groups.setdefault((record.contestant, record.lag), []).append(record)
    return [_standing(group) for group in groups.values()]


def _standing(group: list[Record]) -> Standing:
    solved = [record for record in group if record.solved]
    needed = [record.sequences for record in solved]
    return Standing(
        contestant=group[0].contestant,
        lag=group[0].lag,
        solved=len(solved),
        seeds=len(group),
        sequences=int(statistics.median(needed)) if needed else None,
        most=max(needed, default=None),
        seen=max((record.sequences for record in group if not record.solved), default=None),
        wrong=sum(r.wrong for r in solved) / sum(r.tested for r in solved) if solved else None,
        seconds=sum(record.seconds for record in group),
        out_of_time=sum(record.out_of_time for record in group),
    )


def to_dict(plan: Plan, records: Sequence[Record]) -> dict[str, Any]:
    """A contest as `--json` prints it."""
    return {
        "task": plan.task,
        "criterion": PROBLEMS[plan.task].criterion,
        "recipe": asdict(plan.recipe),
        "standings": [asdict(standing) for standing in standings(records)],
    }
