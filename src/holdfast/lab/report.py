"""The report of `holdfast demo`: one page of HTML that needs no network and no script."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from html import escape

import torch
from torch import Tensor

import holdfast
from holdfast.layers.explain import explain
from holdfast.microscope import Series, heat_map, line_chart
from holdfast.microscope.page import figure, page, section, table

from .demo import HELD_OUT, PROBES, Contest, verdict
from .problem import Batch
from .writer import Writing

_COLOURS = {"LSTM": 1, "RNN": 2}
_CURVES_CAPTION = (
    f"The mean squared error on {HELD_OUT:,} held-out sequences, the same for both models. The dotted line is "
    "what always answering with the mean sum, 1, scores."
)
_USUAL = 0.95  # the share of the memory's values that the colours tell apart
_FLOOR = 1e-30  # gradients shorter than this are not drawn: below, single precision ends


def report(contest: Contest, writing: Writing) -> str:
    """The whole page."""
    lag = contest.settings.lag
    title = f"An LSTM and a plain RNN on the adding problem, lag {lag}"
    introduction = (
        f"The task: read {lag} numbers one by one, two of them marked, and give the sum of the marked two at the end. "
        f"An LSTM and a plain tanh RNN, {contest.settings.hidden_size} units each, were trained on the same generated "
        f"sequences by the same recipe. {_sentence(verdict(contest))}"
    )
    return page(
        title,
        [
            f"<p>{escape(introduction)}</p>",
            '<div class="pair">',
            section("The error", figure(_curves(contest), _CURVES_CAPTION)),
            section("How far back the gradient reaches", figure(_reach(contest), _reach_caption(contest))),
            "</div>",
            "<h2>Inside the LSTM, on one fresh example</h2>",
            f"<p>{escape(_example_text(contest))}</p>",
            '<div class="pair">',
            *_gates(contest),
            "</div>",
            *_written(writing),
            "<h2>The settings</h2>",
            '<div class="pair">',
            *_tables(contest),
            "</div>",
        ],
    )


def _written(writing: Writing) -> list[str]:
    """The character model: its curve, and what it wrote before and after."""
    steps, losses = [s for s, _ in writing.curve], [loss for _, loss in writing.curve]
    best, nats = min(((m["nats"], name) for name, m in writing.baselines.items()))[::-1]
    chart = line_chart(
        [Series("LSTM", steps, losses, _COLOURS["LSTM"])],
        title="The loss of the character model against the number of training steps",
        x_label="training steps",
        y_label="nats a character",
        reference=(nats, f"{best}: {nats:.2f}"),
    )
    options = writing.options
    text = (
        f"An LSTM of {options.hidden} units, {writing.parameters:,} parameters in all, was trained for "
        f"{options.steps:,} steps ({writing.seconds:.0f} s) to predict the next character of the documentation that "
        f"every Python carries, {writing.characters:,} characters. At the end it takes {losses[-1]:.3f} nats a "
        f"character on the last tenth of the text, which it has not seen; a {best} model takes {nats:.3f}."
    )
    return [
        "<h2>An LSTM learns to write</h2>",
        f"<p>{escape(text)}</p>",
        '<div class="pair">',
        figure(chart, "The loss on text that the model has not seen. The dotted line is a table of character counts."),
        f"<section>\n<h3>Before training</h3>\n<pre>{escape(writing.before)}</pre>\n"
        f"<h3>After</h3>\n<pre>{escape(writing.after)}</pre>\n</section>",
        "</div>",
    ]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _curves(contest: Contest) -> str:
    return line_chart(
        [
            Series(r.name, [p.sequences for p in r.curve], [p.error for p in r.curve], _COLOURS[r.name])
            for r in contest.results
        ],
        title="The error of the LSTM and of the RNN against the number of training sequences",
        x_label="training sequences seen",
        y_label="mean squared error",
        log_y=True,
        reference=(contest.problem.guessing, f"guessing the mean: {contest.problem.guessing:.3f}"),
    )


def _reach(contest: Contest) -> str:
    series = []
    for result in contest.results:
        for when, reach in (("before", result.reach_before), ("after", result.reach_after)):
            back = list(range(len(reach)))
            lengths = [length if length > _FLOOR else 0.0 for length in reach.flip(0).tolist()]
            series.append(Series(f"{result.name}, {when}", back, lengths, _COLOURS[result.name], when == "before"))
    return line_chart(
        series,
        title="The length of the gradient of the answer with respect to earlier states, by their distance to the end",
        x_label="steps before the end",
        y_label="length of the gradient",
        log_y=True,
    )


def _reach_caption(contest: Contest) -> str:
    first = "; ".join(
        f"{r.name} {r.reach_before[0]:.1g} before training and {r.reach_after[0]:.1g} after" for r in contest.results
    )
    return (
        "The length of the gradient of the final answer with respect to the state after each step (h of the RNN, h and "
        "c together of the LSTM), along all paths through the later steps; the median of "
        f"{PROBES} held-out sequences. Training can learn from what lies that far back only through this gradient. "
        f"At the first step: {first}."
    )


def _example_text(contest: Contest) -> str:
    x = contest.example
    first, second = _marked(x)
    values = x[[first, second], 0, 0]
    with torch.no_grad():
        answer = contest.lstm.model(Batch(x, values, torch.tensor([len(x)]))).item()
    return (
        f"The numbers {values[0]:.3f} and {values[1]:.3f} are marked, at steps {first + 1} and {second + 1}. Their sum "
        f"is {values.sum():.3f}; the LSTM answers {answer:.3f}. Each line below is a unit, each column a step; the "
        "units are sorted by how far their forget gate is open."
    )


def _marked(example: Tensor) -> list[int]:
    """The two marked steps of a sequence, counted from 0."""
    return example[:, 0, 1].nonzero().flatten().tolist()


def _gates(contest: Contest) -> list[str]:
    """The figures of three gates and the memory, the units of all in the same order."""
    with torch.no_grad():
        record = contest.lstm.model.layer.trace(contest.example).layers[0]
    series = {name: record.gates[name][:, 0] for name in "ifo"} | {"c": record.states["c"][:, 0]}
    order = series["f"].mean(0).argsort(descending=True)
    marked = _marked(contest.example)
    captions, limits = _captions(series, marked), _limits(series)
    return [
        figure(
            heat_map(
                values[:, order].T.numpy(),
                title=captions[name].partition(":")[0],
                x_label="step",
                y_label="unit",
                limits=limits.get(name),
                palette="diverging" if name == "c" else "sequential",
                marks=dict.fromkeys(marked, "marked"),
            ),
            captions[name],
        )
        for name, values in series.items()
    ]


def _captions(series: Mapping[str, Tensor], marked: list[int]) -> dict[str, str]:
    """What each series is, and what can be seen in it."""
    return {
        "i": f"The input gate i: how much each unit writes. {_at_marks(series['i'], marked)}",
        "f": f"The forget gate f: how much of its memory each unit keeps. {_kept(series['f'])}",
        "o": f"The output gate o: how much of its memory each unit shows. {_shown(series['o'])}",
        "c": f"The memory c: what each unit carries; the {1 - _USUAL:.0%} farthest from 0 have the last colours. "
        f"{_moved(series['c'], marked)}",
    }


def _limits(series: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """The ends of the colour scales."""
    # Forget gates differ near 1, so their scale starts as late as it can.
    least = next((tenths / 10 for tenths in range(9, 0, -1) if series["f"].min() >= tenths / 10), 0.0)
    limits = {"i": (0.0, 1.0), "f": (least, 1.0), "o": (0.0, 1.0)}
    usual = series["c"].abs().flatten().quantile(_USUAL).item()  # one unit that counts would pale all the others
    if usual > 0:
        limits["c"] = (-usual, usual)
    return limits


def _at_marks(gate: Tensor, marked: list[int]) -> str:
    there, elsewhere = _split(gate, marked)
    return f"On average {there.mean():.2f} at the two marked steps and {elsewhere.mean():.2f} at the others."


def _kept(gate: Tensor) -> str:
    keepers = int((gate.mean(0) > 0.95).sum())
    return f"{keepers} of {gate.shape[1]} keep more than 95% a step on average."


def _shown(gate: Tensor) -> str:
    return f"On average {gate[:-1].mean():.2f} before the last step and {gate[-1].mean():.2f} at it."


def _moved(memory: Tensor, marked: list[int]) -> str:
    steps = torch.cat([memory[:1], memory.diff(dim=0)]).abs()
    there, elsewhere = _split(steps, marked)
    return f"It changes by {there.mean():.3f} on average at a marked step and by {elsewhere.mean():.3f} at another."


def _split(series: Tensor, marked: list[int]) -> tuple[Tensor, Tensor]:
    """The marked steps of a series, and the others."""
    is_marked = torch.zeros(len(series), dtype=torch.bool)
    is_marked[marked] = True
    return series[is_marked], series[~is_marked]


def _tables(contest: Contest) -> list[str]:
    """What is common to both models, and what is not."""
    settings, lesson = contest.settings, contest.settings.lesson
    shared = [
        ("task", f"adding problem, {settings.lag} steps"),
        ("seed", str(settings.seed)),
        ("training", f"{lesson.steps:,} steps of {lesson.batch_size} sequences, on one thread"),
        (
            "optimiser",
            f"Adam, learning rate {lesson.learning_rate:g}, falling to 0 in the second half; the gradient's norm is "
            f"clipped at {lesson.clip_norm:g}",
        ),
        (
            "versions",
            f"holdfast {holdfast.__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}",
        ),
    ]
    own = [
        ("layer", [str(r.model.layer) for r in contest.results]),
        ("initialisation", [r.contestant.start for r in contest.results]),
        ("engine", [explain(r.model.layer, contest.example).engine for r in contest.results]),
        ("parameters", [f"{r.parameters:,}" for r in contest.results]),
        ("error at the end", [f"{r.error:.5f}" for r in contest.results]),
        ("seconds", [f"{r.seconds:.1f}" for r in contest.results]),
    ]
    return [
        table([], [(name, [value]) for name, value in shared]),
        table([r.name for r in contest.results], own),
    ]
