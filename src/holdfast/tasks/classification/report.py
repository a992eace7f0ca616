"""The part of a run's report that is of sequences: is it worth it, where does it err, what does it look at."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.data import Encoding, Labelled, Sequences
from holdfast.microscope import Band, Series, line_chart
from holdfast.microscope.page import figure, pair, section, shaded_table, table
from holdfast.models import SequenceModel

from .. import inside
from ..figures import shown
from ..task import Compared
from ..text import TOKEN
from . import intervals
from .batches import read_together, shortened
from .examples import legend, of_whole, series_shown, text_shown, words_of
from .influence import contributions
from .measures import reliability
from .options import SequenceOptions
from .reading import said_of

if TYPE_CHECKING:
    from ..fitting import Fitted
    from .task import Material, SequenceTask

Array = np.ndarray[Any, Any]

# Multiplications by weights, for which a slow core needs about twenty seconds, and three of them ten for gradients.
_JUDGING, _EXPLAINING = 3e11, 3e10
_CLASSES = 12  # of a table
_DESCRIBED = 40  # classes whose precision and recall are told
_CONFUSED = 12  # pairs of classes
_NAME = 24  # characters of a class' name in the table of confusions
_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_OF_RARER = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SHOWN = 3  # examples of a kind
_WORDS = 12  # of a class
_TEXTS = 5  # that a word of the table stands in at least
_POINTS = 800  # of a cloud
_PARTS = 5  # of the examples by length or value
_FLATTERY = (
    "The model was chosen on these data, which flatters it a little: <code>holdfast evaluate</code> on data that it "
    "has never met says it exactly."
)


def sections(task: SequenceTask, fitted: Fitted, data: Material, compared: Compared) -> Iterator[str]:
    """The sections of the report of a classifier or a regressor.

    Args:
        task: the task.
        fitted: the run.
        data: its sequences.
        compared: the simple methods on the validation part.
    """
    judged = _Judged.of(fitted, data.labelled)
    yield from _of_numbers(judged, compared) if task.numeric else _of_classes(judged, compared)
    if judged.encoding is not None:
        yield section("Words that tell", _telling(judged))
    yield _inside(judged)


@dataclass(frozen=True, eq=False)
class _Judged:
    """Validation sequences and what the model says of them.

    Attributes:
        model: in evaluation mode.
        facts: what belongs to it.
        saved: its measures on all validation sequences.
        encoding: of texts; None for series.
        longest: steps of a sequence that are read.
        whole: how many validation sequences there are.
        which: those that are judged, (N,).
        data: these.
        said: (N, K).
    """

    model: SequenceModel
    facts: Mapping[str, Any]
    saved: Mapping[str, float]
    encoding: Encoding | None
    longest: int
    whole: int
    which: Array
    data: Sequences
    said: Tensor

    @classmethod
    def of(cls, fitted: Fitted, data: Labelled) -> _Judged:
        model, options, part = fitted.model, fitted.options, data.parts["valid"]
        assert isinstance(model, SequenceModel)
        assert isinstance(options, SequenceOptions)
        which = _affordable(model, part, options.longest, _JUDGING)
        some = replace(part, which=part.which[which])
        said = said_of(model, some, options.longest)
        saved = fitted.saved["valid"]
        return cls(model, fitted.facts, saved, data.encoding, options.longest, len(part), which, some, said)

    @cached_property
    def frozen(self) -> SequenceModel:
        """The model, without gradients of its weights, which would take longer than all else."""
        return copy.deepcopy(self.model).requires_grad_(False)

    @property
    def sampled(self) -> str:
        """What must be said where not all are judged, as a paragraph."""
        if len(self.data) == self.whole:
            return ""
        return (
            f"<p>The interval of the difference and all that follows are of {len(self.data):,} of the {self.whole:,} "
            "validation sequences, drawn at random.</p>"
        )

    @property
    def classes(self) -> Sequence[str]:
        """Their names; none where numbers are said."""
        return self.facts["classes"]

    @property
    def truth(self) -> Array:
        """The classes' numbers, or the numbers, (N,)."""
        return self.data.said if not self.classes else self.data.said.astype(np.int64)

    @property
    def probabilities(self) -> Array:
        """(N, K)"""
        return self.model.probabilities(self.said).double().numpy()

    @property
    def numbers(self) -> Array:
        """What a regressor says, (N,)."""
        mean, deviation = self.facts["said"]
        found: Array = self.said[:, 0].double().numpy() * deviation + mean
        return found

    def of_method(self, compared: Compared, name: str) -> Array:
        """What a simple method says of the sequences that are judged, (N,)."""
        return np.asarray(compared.said[name])[self.which]

    def explained(self, which: Sequence[int], outputs: Sequence[int]) -> list[Array]:
        """The contributions to an output of each of some sequences, (T, I); NaN where it was not read."""
        read = [shortened(self.data.of(k), self.longest) for k in which]
        found = contributions(self.frozen, read, outputs)
        if not self.classes:
            found = [each * self.facts["said"][1] for each in found]
        return [of_whole(each, len(self.data.of(k)), self.longest) for k, each in zip(which, found)]


def _affordable(model: SequenceModel, data: Sequences, longest: int, work: float) -> Array:
    """Sequences drawn at random for whose steps so many multiplications suffice; all, if they do."""
    weights = sum(p.numel() for module in (model.below, model.layers) for p in module.parameters())
    order = np.random.default_rng(0).permutation(len(data))
    spent = np.cumsum(np.minimum(data.lengths[order], longest).astype(float) * weights)
    return np.sort(order[: max(1, int((spent <= work).sum()))])


# Classes.


def _of_classes(judged: _Judged, compared: Compared) -> Iterator[str]:
    """The sections of a classifier."""
    yield section("In plain words", _classes_in_words(judged, compared) + judged.sampled)
    yield section("What is taken for what", _confusion(judged))
    yield section("How far its confidence can be trusted", _calibration(judged))
    yield section("If it may leave the doubtful to somebody else", _thresholds(judged))
    yield section("What it looked at", _classified(judged))


def _classes_in_words(judged: _Judged, compared: Compared) -> str:
    """Whether the model is right more often than what is simple."""
    saved = judged.saved
    low, high = intervals.of_share(saved["accuracy"], judged.whole)
    right = f"The model is right on {saved['accuracy']:.1%} of the validation data ({low:.1%} to {high:.1%})"
    best = max(compared.measures, key=lambda name: compared.measures[name]["accuracy"])
    other = compared.measures[best]
    ours, theirs = judged.probabilities.argmax(1) == judged.truth, judged.of_method(compared, best) == judged.truth
    low, high = intervals.of_difference(ours, theirs)
    gap = f"{100 * low:+.1f} to {100 * high:+.1f} points"
    beside = f"the best simple method, {best}, on {other['accuracy']:.1%}"
    if low > 0:
        text = f"{right}, {beside}: it beats every simple method by more than chance explains ({gap})."
    elif high < 0:
        text = f"{right}, {beside}: the model does not pay. The simple method is the better choice; use that ({gap})."
    else:
        text = (
            f"{right}, {beside}: the difference may be chance ({gap}). The simple method learns in seconds; use that, "
            "unless more data or a longer training make the model better."
        )
    by_nats = min(compared.measures, key=lambda name: compared.measures[name]["nats"])
    nats = compared.measures[by_nats]["nats"]
    probabilities = (
        f"Its probabilities fit {'better' if saved['nats'] < nats else 'no better'} than those of any simple method: "
        f"it has {shown(saved['nats'])} nats, where the best of these, {by_nats}, has {shown(nats)}; less is better."
    )
    about = (
        "In brackets are intervals of 95%: so far may the figures be from those on endless data of the same kind; for "
        "the difference both were asked of the same examples. "
    )
    return (
        f"<p><strong>{escape(text)}</strong></p>\n<p>{escape(probabilities)}</p>\n<p>{about}{_FLATTERY} The same holds "
        "for its temperature, which was fitted to them.</p>"
    )


def _confusion(judged: _Judged) -> str:
    """Which classes are taken for which, and how well each is found."""
    truth, chosen, names = judged.truth, judged.probabilities.argmax(1), judged.classes
    counts = np.zeros((len(names), len(names)), np.int64)  # (true, said)
    np.add.at(counts, (truth, chosen), 1)
    frequent = np.argsort(-counts.sum(1), kind="stable")
    parts = [_matrix(counts, frequent[:_CLASSES], names)]
    if len(names) > _CLASSES:
        parts.append(_confused(counts, names))
    rows = []
    for k in frequent[:_DESCRIBED] if len(names) > _DESCRIBED else range(len(names)):
        right, said, true = int(counts[k, k]), int(counts[:, k].sum()), int(counts[k].sum())
        shares = [_share(right, said), _share(right, true), _share(2 * right, said + true)]
        rows.append((names[k], [*shares, f"{true:,}"]))
    words = (
        "Precision: how often it is right when it says a class. Recall: how many of a class it finds. F1: the harmonic "
        "mean of both."
    )
    if len(names) > _DESCRIBED:
        words += f" Of {len(names):,} classes the {_DESCRIBED} most frequent."
    parts.append(f"<p>{words}</p>\n" + table(["precision", "recall", "F1", "examples"], rows))
    return "\n".join(parts)


def _share(part: float, whole: float = 1) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _matrix(counts: Array, kept: Array, names: Sequence[str]) -> str:
    """The confusion matrix of some classes, those that are left out together as others."""
    kept = np.sort(kept)
    said = [_cut(names[k]) for k in kept]
    cells = counts[np.ix_(kept, kept)]
    words = (
        "A row is what the examples are, a column what the model says they are: how many, and their share of the row; "
        "blue what is right, red what is wrong."
    )
    if len(kept) < len(names):
        said.append("others")
        cells = np.concatenate([cells, counts[kept].sum(1, keepdims=True) - cells.sum(1, keepdims=True)], 1)
        words += f" The {len(kept)} most frequent of {len(names):,} classes."
    shares = cells / np.maximum(1, cells.sum(1, keepdims=True))
    shades = np.where(np.eye(*shares.shape), -shares, shares).tolist()
    rows = [
        (_cut(names[k]), [f"{count:,} ({share:.0%})" if count else "0" for count, share in zip(row, of_row)])
        for k, row, of_row in zip(kept, cells.tolist(), shares.tolist())
    ]
    return f"<p>{words}</p>\n" + shaded_table(said, rows, shades)


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _confused(counts: Array, names: Sequence[str]) -> str:
    """The pairs of classes that are taken for each other most often."""
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    most = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSED]
    pairs = [(true, said) for true, said in zip(*np.unravel_index(most, wrong.shape)) if wrong[true, said]]
    if not pairs:
        return ""
    rows = [(names[true], [names[said], f"{wrong[true, said]:,} of {counts[true].sum():,}"]) for true, said in pairs]
    return "<p>What is mistaken most often:</p>\n" + table(["is taken for", "how often"], rows)


def _calibration(judged: _Judged) -> str:
    """Confidence against accuracy."""
    found = reliability(judged.probabilities, judged.truth)
    x = [confidence for _, _, confidence, _ in found]
    ends = [intervals.of_share(share, count) for _, count, _, share in found]
    least = min(x[0], 1 / len(judged.classes))
    chart = line_chart(
        [
            Series("as sure as right", [least, 1.0], [least, 1.0], 3, dashed=True),
            Series("this model", x, [share for _, _, _, share in found], 1),
        ],
        bands=[Band("95% interval", x, [low for low, _ in ends], [high for _, high in ends], 1)],
        title="How often the model is right, by how sure it is",
        x_label="how sure it is",
        y_label="how often it is right",
        y_limits=(0.0, 1.0),
    )
    caption = "Examples by the probability of the class that is said, in tenths. Below the dashed line it is too sure."
    rows = [
        (f"{lower:.0%} to {lower + 0.1:.0%} sure", [f"{count:,}", _share(confidence), _share(share)])
        for lower, count, confidence, share in found
    ]
    counts = table(["examples", "how sure, mean", "right"], rows)
    return f"<p>{_temperature(float(judged.model.temperature))}</p>\n" + pair([figure(chart, caption), counts])


def _temperature(temperature: float) -> str:
    """What was done to the model's confidence, in words."""
    if f"{temperature:.2f}" == "1.00":
        return "As it was trained, the model was as sure of itself as it is right: its outputs were left as they are."
    if temperature > 1:
        how = f"was too sure of itself: its outputs were divided by {temperature:.2f}"
    else:
        how = f"was not sure enough of itself: its outputs were multiplied by {1 / temperature:.2f}"
    return f"As it was trained, the model {how} before they became probabilities, which never changes what it says."


def _thresholds(judged: _Judged) -> str:
    """What comes of it to take the model's word only where it is sure."""
    probabilities, truth = judged.probabilities, judged.truth
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    rows = []
    for threshold in _THRESHOLDS:
        decided = confidence >= threshold
        if threshold and decided.all():
            continue
        count, hits = int(decided.sum()), int(right[decided].sum())
        within = "{:.1%} to {:.1%}".format(*intervals.of_share(hits / count, count)) if count else "–"
        name = f"at least {threshold:.0%} sure" if threshold else "all"
        rows.append((name, [_share(count, len(truth)), _share(hits, count), within]))
    words = "If the model decides only where it is sure enough, it decides fewer cases, and more of these are right."
    found = f"<p>{words}</p>\n" + table(["decided", "of these right", "95% interval"], rows)
    if len(judged.classes) == 2:
        found += _of_rarer(judged)
    return found


def _of_rarer(judged: _Judged) -> str:
    """Precision and recall of the rarer of two classes, by the probability from which on it is said."""
    counts = np.bincount(judged.truth, minlength=2)
    rarer = int(counts.argmin())
    is_rarer, probability = judged.truth == rarer, judged.probabilities[:, rarer]
    rows = []
    for threshold in _OF_RARER:
        said = probability >= threshold
        hit, count = int((said & is_rarer).sum()), int(said.sum())
        rows.append((f"{threshold:.0%}", [_share(hit, count), _share(hit, int(is_rarer.sum())), f"{count:,}"]))
    name = escape(judged.classes[rarer])
    words = (
        f"If “{name}” is said wherever its probability is at least so much. Few misses need a low threshold, few false "
        "alarms a high one."
    )
    return f"<p>{words}</p>\n" + table(["precision", "recall", "how often said"], rows)


def _classified(judged: _Judged) -> str:
    """Examples that are right for sure, wrong for sure, and doubtful."""
    probabilities = judged.probabilities
    chosen, confidence = probabilities.argmax(1), probabilities.max(1)
    right = chosen == judged.truth
    surest, doubtful = np.argsort(-confidence, kind="stable"), np.argsort(confidence, kind="stable")
    groups = {
        "Wrong, and most sure": surest[~right[surest]][:_SHOWN],
        "Right, and most sure": surest[right[surest]][:_SHOWN],
        "Least sure": doubtful[:_SHOWN],
    }

    def caption(k: int) -> str:
        is_so = "it is" if right[k] else f"it is {judged.classes[judged.truth[k]]}"
        return f"It says {judged.classes[chosen[k]]}, {confidence[k]:.1%} sure; {is_so}."

    return _explained(judged, groups, chosen, caption)


# Numbers.


def _of_numbers(judged: _Judged, compared: Compared) -> Iterator[str]:
    """The sections of a regressor."""
    yield section("In plain words", _numbers_in_words(judged, compared) + judged.sampled)
    yield section("Said and true", _cloud(judged))
    yield section("Where it errs", _errors(judged))
    yield section("What it looked at", _regressed(judged))


def _numbers_in_words(judged: _Judged, compared: Compared) -> str:
    """Whether the model errs less than what is simple."""
    saved = judged.saved
    best = min(compared.measures, key=lambda name: compared.measures[name]["rmse"])
    other = compared.measures[best]
    ours = (judged.numbers - judged.truth) ** 2
    theirs = (judged.of_method(compared, best) - judged.truth) ** 2
    low, high = intervals.of_statistic(lambda one: np.sqrt(one.mean()), ours)
    least, most = intervals.of_statistic(lambda one, two: np.sqrt(one.mean()) - np.sqrt(two.mean()), ours, theirs)
    gap = f"its error less theirs: {least:+.3g} to {most:+.3g}"
    ours_said = (
        f"The model errs by {saved['rmse']:.3g} on the validation data, root mean square ({low:.3g} to {high:.3g})"
    )
    beside = f"the best simple method, {best}, by {other['rmse']:.3g}"
    if most < 0:
        text = f"{ours_said}, {beside}: it beats every simple method by more than chance explains ({gap})."
    elif least > 0:
        text = (
            f"{ours_said}, {beside}: the model does not pay. The simple method is the better choice; use that ({gap})."
        )
    else:
        text = (
            f"{ours_said}, {beside}: the difference may be chance ({gap}). The simple method learns in seconds; use "
            "that, unless more data or a longer training make the model better."
        )
    about = (
        f"Its mean error is {saved['mae']:.3g} in size; it explains {saved['r2']:.1%} of the "
        "variance (R²). In brackets are intervals of 95%, by drawing the examples anew a thousand times."
    )
    return f"<p><strong>{escape(text)}</strong></p>\n<p>{about} {_FLATTERY}</p>"


def _cloud(judged: _Judged) -> str:
    """What is said against what is true, and the error against what is said."""
    shown_ones = np.random.default_rng(0).permutation(len(judged.data))[:_POINTS]
    said, true = judged.numbers[shown_ones], judged.truth[shown_ones]
    ends = [float(true.min()), float(true.max())]
    chart = line_chart(
        [_points("each dot an example", true, said), Series("said as it is", ends, ends, 2, dashed=True)],
        title="What the model says against the truth",
        x_label="true",
        y_label="said",
    )
    errors = line_chart(
        [_points("each dot an example", said, said - true)],
        title="The error against what the model says",
        x_label="said",
        y_label="said less true",
        reference=(0.0, "no error"),
    )
    which = f"{len(shown_ones):,} examples" + (" drawn at random" if len(shown_ones) < len(judged.data) else "")
    return pair(
        [
            figure(chart, f"What the model says of {which}, against the truth."),
            figure(errors, "The error against what the model says: above the dotted line it says too much."),
        ]
    )


def _points(label: str, x: Array, y: Array) -> Series:
    """Dots that no line joins."""
    apart = np.stack([y, np.full_like(y, np.nan)], 1).ravel()
    return Series(label, np.repeat(x, 2).tolist(), apart.tolist(), 1)


def _errors(judged: _Judged) -> str:
    """The errors by the truth and by the length."""
    error = judged.numbers - judged.truth
    found = []
    for what, values in (("what is true", judged.truth), ("the length in steps", judged.data.lengths)):
        ends = np.unique(np.quantile(values, np.linspace(0, 1, _PARTS + 1), method="nearest"))
        ends = ends if len(ends) > 1 else np.repeat(ends, 2)
        rows = []
        for begin, end in pairwise(ends):
            last = end == ends[-1]
            mine = (values >= begin) & ((values <= end) if last else (values < end))
            if mine.any():
                one = error[mine]
                numbers = [f"{one.mean():+.3g}", f"{np.abs(one).mean():.3g}", f"{mine.sum():,}"]
                rows.append((f"{begin:,.4g} to {end:,.4g}", numbers))
        heading = f"<p>By {what}, in parts with about as many examples each:</p>\n"
        found.append(f"<div>\n{heading}{table(['mean error', 'its mean size', 'examples'], rows)}\n</div>")
    return pair(found)


def _regressed(judged: _Judged) -> str:
    """The worst cases, and ordinary ones."""
    sizes = np.abs(judged.numbers - judged.truth)
    order = np.argsort(-sizes, kind="stable")
    middle = len(order) // 2
    groups = {
        "The largest errors": order[: _SHOWN + 1],
        "Errors of ordinary size": order[max(_SHOWN + 1, middle - 1) :][: _SHOWN - 1],
    }

    def caption(k: int) -> str:
        return f"It says {judged.numbers[k]:.4g}; it is {judged.truth[k]:.4g}."

    return _explained(judged, groups, np.zeros(len(order), np.int64), caption)


# What both look at.


def _explained(judged: _Judged, groups: Mapping[str, Array], outputs: Array, caption: Any) -> str:
    """Groups of examples, with what counted in each."""
    parts = [f"<p>{legend('towards what it says', 'away from it') if judged.classes else legend('up', 'down')}</p>"]
    for heading, which in groups.items():
        if not len(which):
            continue
        parts.append(f"<h3>{escape(heading)}</h3>")
        one_by_one = [_one(judged, int(k), judged.explained([int(k)], [int(outputs[k])])[0], caption(k)) for k in which]
        parts.append("".join(one_by_one) if judged.encoding is not None else pair(one_by_one))
    return "\n".join(parts)


def _one(judged: _Judged, k: int, found: Array, said: str) -> str:
    """An example."""
    said = f"Example {judged.data.which[k] + 1:,}. {said}"
    if judged.encoding is None:
        return figure(series_shown(_scaled(judged.model, judged.data.of(k)), found, f"Series {k}"), said)
    return f"<p>{escape(said)}</p>\n" + text_shown(judged.data.text(k), judged.encoding, found.sum(1))


def _scaled(model: SequenceModel, values: Array) -> Array:
    """A series in deviations of its channels."""
    scaled: Array = (values - model.means.numpy(force=True)) / model.deviations.numpy(force=True)
    return scaled


def _telling(judged: _Judged) -> str:
    """The words that push most to each class, or up and down."""
    which = _affordable(judged.model, judged.data, judged.longest, _EXPLAINING)
    outputs = judged.said.argmax(1).numpy()
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    some = replace(judged.data, which=judged.data.which[which])
    for batch in read_together(some, judged.longest):
        numbers = which[batch].tolist()
        for k, each in zip(numbers, judged.explained(numbers, outputs[numbers].tolist())):
            once: dict[str, list[float]] = defaultdict(list)  # a text counts once, however often it says a word
            assert judged.encoding is not None
            for word, value in words_of(judged.data.text(k), judged.encoding, judged.data.of(k), each.sum(1)):
                once[word].append(value)
            for word, values in once.items():
                found[int(outputs[k])][word].append(float(np.mean(values)))
    means = {
        k: {word: float(np.mean(values)) for word, values in words.items() if len(values) >= _TEXTS}
        for k, words in found.items()
    }
    if judged.classes:
        frequent = np.bincount(judged.truth, minlength=len(judged.classes)).argsort(kind="stable")[::-1][:_CLASSES]
        columns = {judged.classes[k]: _pushing(means.get(k, {}), 1) for k in sorted(frequent.tolist())}
        words = "The words that push most towards a class in the texts that the model takes for it"
    else:
        columns = {"up": _pushing(means.get(0, {}), 1), "down": _pushing(means.get(0, {}), -1)}
        words = "The words that push the number most up and down"
    columns = {name: words for name, words in columns.items() if words}
    if not columns:
        return f"<p>No word that tells stands in {_TEXTS} of the texts that were looked at.</p>"
    words += (
        f", with their mean influence, of words in at least {_TEXTS} of the {len(which):,} texts that were looked at:"
    )
    lists = [
        f"<div>\n<h3>{escape(name)}</h3>\n{table([], [(word, [f'{value:+.3g}']) for word, value in words])}\n</div>"
        for name, words in columns.items()
    ]
    return f"<p>{words}</p>\n" + pair(lists)


def _pushing(means: Mapping[str, float], sign: int) -> list[tuple[str, float]]:
    """The words of the strongest influence of a sign."""
    ranked = sorted(means.items(), key=lambda one: -sign * one[1])
    return [one for one in ranked[:_WORDS] if sign * one[1] > 0]


# The layers.


class _Reader(nn.Module):
    """A model on sequences of the same length."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model
        self.stack = nn.ModuleList([*model.below, *model.layers])

    def forward(self, x: Tensor) -> Tensor:
        h = self.model.through(self.model.inputs(x), lambda layer, h: layer(h)[0])
        lengths = torch.full((h.shape[1],), len(h), device=h.device)
        said: Tensor = self.model.output(self.model.pooling(h, lengths))
        return said


@torch.no_grad()
def _inside(judged: _Judged) -> str:
    """The look inside the layers while they read the beginnings of some sequences, to the loss of what they say."""
    model, lengths = judged.model, judged.data.lengths
    steps = min(inside.STEPS, int(np.median(lengths)))
    why = ""
    if model.bidirectional:
        why = (
            "This model reads from the end too, and a look inside follows a memory in one direction: a training with "
            "--no-bidirectional has it."
        )
    elif steps < 2:
        why = "The sequences have one step, over which there is nothing to remember."
    if why:
        return section("Inside the model", f"<p>{escape(why)}</p>")
    which = np.flatnonzero(lengths >= steps)[: inside.SEQUENCES]
    x = torch.from_numpy(np.stack([judged.data.of(k)[:steps] for k in which], 1))  # (T, B, …)
    truth = torch.from_numpy(np.asarray(judged.truth[which]))

    def loss(said: Tensor) -> Tensor:
        if judged.classes:
            return F.cross_entropy(said, truth)
        mean, deviation = judged.facts["said"]
        return F.mse_loss(said[:, 0].double(), (truth - mean) / deviation)

    step, text = "step", f"example {judged.data.which[which[0]] + 1:,}"
    if judged.encoding is not None:
        x, step = x.long(), TOKEN[judged.encoding.level]
        between = " " if step == "word" else ""
        text = between.join(judged.encoding.text_of(k) for k in x[:, 0].tolist())
    return inside.inside(_Reader(model), x, loss, step, text)
