"""The report of a run: one page of HTML that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from holdfast.microscope import Series, line_chart
from holdfast.microscope.page import figure, page, pair, section, table
from holdfast.training import write_atomically

from .figures import shown
from .task import Compared

if TYPE_CHECKING:
    from .fitting import Fitted

POINTS = 400  # of a curve: as many as the picture is wide in units that can be told apart


def write_report(fitted: Fitted, data: Any, compared: Compared | None, notes: Sequence[str]) -> None:
    """Write report.html into the run's folder.

    Args:
        fitted: the run.
        data: what it was trained on.
        compared: the simple methods; None of a training that was stopped, whose report has no more than is at hand.
        notes: what must be said of the measures.
    """
    task = fitted.task
    baselines = compared.measures if compared else {}
    body = [
        f"<p>{escape(task.summary)}</p>",
        section("Training", _curves(fitted, baselines)),
        section("On validation data", _measures(fitted, baselines, notes)),
        *(task.report(fitted, data, compared) if compared else ()),
        section("The run", _settings(fitted, data)),
    ]
    write_atomically(fitted.folder / "report.html", page(f"{task.name}: {fitted.folder.name}", body))


def _curves(fitted: Fitted, baselines: Mapping[str, Mapping[str, float]]) -> str:
    """The loss of the steps, averaged, and what was evaluated, against the steps."""
    name = fitted.task.curve or fitted.task.objective
    lines = fitted.run.metrics()
    wide = max(1, len(lines) // POINTS)
    finite = [one for one in lines if one["loss"] is not None]
    groups = [finite[k : k + wide] for k in range(0, len(finite), wide)]
    trained = Series(
        "training", [g[-1]["step"] for g in groups], [sum(one["loss"] for one in g) / len(g) for g in groups], 1, True
    )
    found = [(one["step"], one[f"valid_{name}"]) for one in lines if one.get(f"valid_{name}") is not None]
    series = [trained, Series("validation", [s for s, _ in found], [v for _, v in found], 2)]
    best = min(((m[name], who) for who, m in baselines.items() if name in m), default=None)
    chart = line_chart(
        series,
        title=f"The loss against the number of steps, {name}",
        x_label="step",
        y_label=name,
        reference=None if best is None else (best[0], f"{best[1]}: {best[0]:.3f}"),
    )
    return figure(chart, f"{name}, of training steps ({wide} at a time) and of the evaluations on validation data.")


def _measures(fitted: Fitted, baselines: Mapping[str, Mapping[str, float]], notes: Sequence[str]) -> str:
    """The best model beside the baselines."""
    measured: dict[str, Mapping[str, float]] = {f"best model, step {fitted.saved['step']:,}": fitted.saved["valid"]}
    measured |= baselines
    names = list(fitted.saved["valid"])
    rows = [(name, [shown(m.get(name)) for m in measured.values()]) for name in names]
    return table(list(measured), rows) + "".join(f"<p>{escape(note)}</p>" for note in notes)


def _settings(fitted: Fitted, data: Any) -> str:
    """The data and the options."""
    about = fitted.task.describe(data)
    options = fitted.config["options"]
    return pair(
        [
            table([], [(name, [f"{v:,}" if isinstance(v, int) else str(v)]) for name, v in about.items()]),
            table([], [(name, [str(value)]) for name, value in options.items()]),
        ]
    )
