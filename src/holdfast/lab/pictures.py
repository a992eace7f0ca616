"""The page of a contest: who learned the task where, and how fast."""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Callable, Sequence
from html import escape

import torch

import holdfast
from holdfast.microscope import Series, line_chart
from holdfast.microscope.page import figure, page, section, table

from .contest import Plan, Record, Standing, standings
from .contestants import CONTESTANTS, HMM
from .registry import PROBLEMS

COLOURS = 4
APART = 0.015  # between lines that would lie on one another, as a share of the axis


def success_by_lag(plan: Plan, records: Sequence[Record]) -> str:
    """The share of seeds with which each contestant learned the task, against the lag, as SVG."""
    return line_chart(
        _by_lag(plan, records, lambda standing: standing.solved / standing.seeds, APART),
        title=f"The share of seeds with which the task {plan.task} was learned, against the lag",
        x_label="lag",
        y_label="share of seeds that learned it",
        log_x=len(plan.lags) > 1,
        y_limits=(-0.05, 1.05),
    )


def needed_by_lag(plan: Plan, records: Sequence[Record]) -> str:
    """How many sequences each contestant needed, in the median of the seeds that learned the task, against the lag."""
    return line_chart(
        _by_lag(plan, records, lambda standing: standing.sequences or math.nan),
        title=f"How many sequences it took to learn the task {plan.task}, against the lag",
        x_label="lag",
        y_label="sequences needed, median",
        log_x=len(plan.lags) > 1,
        log_y=True,
    )


def curves(plan: Plan, records: Sequence[Record], lag: int) -> str:
    """The error of each contestant against the number of sequences, the median of its seeds, as SVG."""
    lines = [
        line(k, who, _median([r for r in records if (r.contestant, r.lag) == (who, lag)]))
        for k, who in enumerate(plan.contestants)
    ]
    guessing = plan.problem(lag).guessing
    return line_chart(
        lines,
        title=f"The error on fresh sequences against the number of training sequences, lag {lag}",
        x_label="training sequences seen",
        y_label=PROBLEMS[plan.task].measure,
        log_y=True,
        reference=(guessing, f"without memory: {guessing:.3g}"),
    )


def _by_lag(
    plan: Plan, records: Sequence[Record], value: Callable[[Standing], float], apart: float = 0.0
) -> list[Series]:
    """Something of each contestant's standings against the lag, the lines a little apart."""
    middle = (len(plan.contestants) - 1) / 2
    found = {(standing.contestant, standing.lag): value(standing) for standing in standings(records)}
    return [
        line(k, who, [(lag, found[who, lag] + apart * (middle - k)) for lag in plan.lags if (who, lag) in found])
        for k, who in enumerate(plan.contestants)
    ]


def line(number: int, who: str, points: Sequence[tuple[float, float]]) -> Series:
    """The line of one contestant, which is drawn like no other one's."""
    return Series(who, [x for x, _ in points], [y for _, y in points], 1 + number % COLOURS, number >= COLOURS)


def _median(records: Sequence[Record]) -> list[tuple[float, float]]:
    """The median error at each place; who had learned the task by then stays at the last error."""
    curves = [record.curve for record in records if record.curve]
    places = max(([x for x, _ in curve] for curve in curves), key=len, default=[])
    return [(x, statistics.median(curve[min(k, len(curve) - 1)][1] for curve in curves)) for k, x in enumerate(places)]


def contest_page(plan: Plan, records: Sequence[Record]) -> str:
    """The whole page, which needs no network and no script."""
    problem = PROBLEMS[plan.task]
    learned = f"Learned: {problem.criterion}, for {problem.checked:,} fresh sequences."
    about = f"The task: {problem.summary} ({problem.source}). {learned}"
    body = [f"<p>{escape(about)}</p>"]
    if len(plan.lags) > 1:
        within = f"within {plan.recipe.sequences:,} sequences"
        caption = (
            f"The share of {plan.seeds} seeds with which each learned the task {within}; lines that would hide one "
            "another are drawn a little apart."
        )
        pair = figure(success_by_lag(plan, records), caption) + figure(
            needed_by_lag(plan, records),
            "How many sequences those seeds needed; a line breaks where no seed learned the task.",
        )
        body.append(section("Who learned it, by lag", f'<div class="pair">{pair}</div>'))
    body.append(section("In numbers", table(HEADINGS, [(s.contestant, cells(s)) for s in standings(records)])))
    body.append('<div class="pair">')
    for lag in plan.lags:
        heading = f"The error, lag {lag}" if lag else "The error"
        caption = "The median of the seeds, on fresh sequences; a line ends where all have learned the task."
        body.append(section(heading, figure(curves(plan, records, lag), caption)))
    body += ["</div>", section("How", table([], _settings(plan)))]
    return page(f"Who learns {plan.task}?", body)


HEADINGS = ("lag", "learned", "sequences needed", "most", "wrong after it", "seconds")


def cells(standing: Standing) -> list[str]:
    """A standing as the cells of a table."""
    seen = "–" if standing.seen is None else f"> {standing.seen:,}"
    late = f" ({standing.out_of_time} out of time)" if standing.out_of_time else ""
    return [
        str(standing.lag or "–"),
        f"{standing.solved} of {standing.seeds}{late}",
        seen if standing.sequences is None else f"{standing.sequences:,}",
        "–" if standing.most is None else f"{standing.most:,}",
        "–" if standing.wrong is None else f"{standing.wrong:.2%}",
        f"{standing.seconds:,.0f}",
    ]


def _settings(plan: Plan) -> list[tuple[str, list[str]]]:
    names = {who: CONTESTANTS[who].summary for who in plan.contestants if who in CONTESTANTS}
    if HMM in plan.contestants:
        states = " or ".join(dict.fromkeys(str(plan.problem(lag).states) for lag in plan.lags))
        names[HMM] = f"a hidden Markov model of {states} states, by expectation maximisation"
    recipe = plan.recipe
    return [
        *((who, [what]) for who, what in names.items()),
        ("units", [str(recipe.units)]),
        (
            "training",
            [
                f"Adam, learning rate {recipe.learning_rate:g}, {recipe.batch_size} sequences a step; the gradient's "
                f"norm is clipped at {recipe.clip:g}"
            ],
        ),
        ("start of forget gates", [recipe.start]),
        ("layer norm", ["yes" if recipe.norm else "no"]),
        versions(),
    ]


def versions() -> tuple[str, list[str]]:
    """A row of a table that says what ran."""
    ours, theirs, python = holdfast.__version__, torch.__version__, platform.python_version()
    return "versions", [f"holdfast {ours}, PyTorch {theirs}, Python {python}"]
