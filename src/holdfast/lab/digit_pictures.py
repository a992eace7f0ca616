"""The page of a contest on a digit task: who recognised how many, and how fast that came."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape

from holdfast.microscope import line_chart
from holdfast.microscope.page import figure, page, section, table

from .contestants import CONTESTANTS
from .digit_contest import DigitPlan, DigitRecord, DigitStanding, standings
from .digits import VALIDATED
from .pictures import line, versions

HEADINGS = ("seeds", "test", "validation", "images seen", "seconds")


def digit_page(plan: DigitPlan, records: Sequence[DigitRecord]) -> str:
    """The whole page, which needs no network and no script."""
    about = (
        f"The task: {plan.way.summary}. Each learned for {plan.options.minutes:g} minutes; the model that was best on "
        f"the last {VALIDATED:,} of the training images, which were not learned from, then read the test set, once."
    )
    numbers = table(HEADINGS, [(s.contestant, cells(s)) for s in standings(records)])
    of_seeds = f"; the mean of {plan.seeds} seeds" if plan.seeds > 1 else ""
    caption = f"The share of validation images that were recognised{of_seeds}."
    body = [
        f"<p>{escape(about)}</p>",
        section("In numbers", numbers),
        section("While learning", figure(curves(plan, records), caption)),
        section("How", table([], _settings(plan, records))),
    ]
    return page(f"Who learns {plan.task}?", body)


def curves(plan: DigitPlan, records: Sequence[DigitRecord]) -> str:
    """The share of validation images recognised by each contestant against the number of images seen, as SVG."""
    return line_chart(
        [line(k, who, _mean([r for r in records if r.contestant == who])) for k, who in enumerate(plan.contestants)],
        title="The share of validation images that were recognised against the number of images seen",
        x_label="training images seen",
        y_label="share recognised",
    )


def _mean(records: Sequence[DigitRecord]) -> list[tuple[float, float]]:
    """The mean of the first evaluations, of the second ones …, as far as all seeds have them."""
    columns = zip(*(record.curve for record in records))
    return [(statistics.mean(x for x, _ in places), statistics.mean(y for _, y in places)) for places in columns]


def cells(standing: DigitStanding) -> list[str]:
    """A standing as the cells of a table."""
    early = f" ({standing.given_up} given up)" if standing.given_up else ""
    spread = "" if standing.deviation is None else f" ± {standing.deviation:.2%}"
    return [
        f"{standing.seeds}{early}",
        shown(standing.test) + spread,
        shown(standing.valid),
        f"{standing.images:,}",
        f"{standing.seconds:,.0f}",
    ]


def shown(share: float | None) -> str:
    """A share of images; a dash where there is no model.

    >>> shown(0.98613), shown(None)
    ('98.61%', '–')
    """
    return "–" if share is None else f"{share:.2%}"


def _settings(plan: DigitPlan, records: Sequence[DigitRecord]) -> list[tuple[str, list[str]]]:
    options = plan.options
    known = standings(records)
    return [
        *((s.contestant, [f"{CONTESTANTS[s.contestant].summary}; {s.parameters:,} parameters"]) for s in known),
        ("units", [str(options.units)]),
        (
            "training",
            [
                f"AdamW, learning rate {options.learning_rate:g}, falling along a cosine; {options.batch_size} images "
                f"a step; the gradient's norm is clipped at {options.clip:g}"
            ],
        ),
        ("start of forget gates", [options.start]),
        ("layer norm", ["yes" if options.norm else "no"]),
        versions(),
    ]
