"""Simple methods that learn from the same sequences: what is worth having must beat them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from holdfast.data import Labelled, Sequences
from holdfast.data.encodings import ProseEncoding
from holdfast.extras import require

from ..task import Compared
from .measures import of_classes, of_numbers

Array = np.ndarray[Any, Any]

EXTRA = "classify"
LEARNED = 50_000  # texts that they learn from at most: as many n-grams take about a gigabyte
_PARTS = 4  # of a series, whose levels and changes are told apart
_STEPS = 500  # of a logistic regression
_LEAST = 2  # texts that a word or pair stands in
_WEIGHTS, _FEWEST = 1_000_000, 10_000  # of all classes together; words and pairs that are kept in any case
_MOST_WORDS = 1 << 31  # different ones, so that a pair is a number
_SERIES, _TEXTS = "means, deviations and changes", "TF-IDF of words and pairs"  # what the linear methods see


def baselines(learned: Labelled, judged: Sequences) -> Compared:
    """The measures of simple methods.

    Args:
        learned: what they learn from: its training part.
        judged: what they are measured on.
    """
    require("sklearn", EXTRA)
    train = learned.parts["train"]
    notes: list[str] = []
    which = np.arange(len(train))
    if len(which) > LEARNED:
        which = np.sort(np.random.default_rng(0).permutation(which)[:LEARNED])
        notes.append(f"The simple methods learned from {LEARNED:,} of the {len(train):,} examples, drawn at random.")
    truth = train.said[which]
    if not learned.classes:
        found = dict(_numbers(learned, train, which, truth, judged))
        measures = {name: of_numbers(numbers, judged.said) for name, numbers in found.items()}
        return Compared(measures, notes, said={name: numbers.tolist() for name, numbers in found.items()})
    found = dict(_classes(learned, train, which, truth.astype(int), judged, notes))
    measures = {name: of_classes(each, judged.said.astype(int)) for name, each in found.items()}
    return Compared(measures, notes, said={name: each.argmax(1).tolist() for name, each in found.items()})


def _classes(
    learned: Labelled, train: Sequences, which: Array, truth: Array, judged: Sequences, notes: list[str]
) -> Iterable[tuple[str, Array]]:
    """Of each method its name and its probabilities, (N, K)."""
    classes = len(learned.classes)
    shares = np.bincount(truth, minlength=classes) / len(truth)
    yield "majority", np.tile(shares, (len(judged), 1))
    if (shares > 0).sum() < 2:
        notes.append("All examples that the simple methods learned from are of one class: they can only say that one.")
        return

    def spread(model: Any, x: Any) -> Array:
        found = np.zeros((x.shape[0], classes))
        found[:, model.classes_] = model.predict_proba(x)
        return found

    def regression(name: str, strength: float, x: Any, judged: Any) -> tuple[str, Array]:
        model = require("sklearn.linear_model", EXTRA).LogisticRegression(C=strength, max_iter=_STEPS)
        with warnings.catch_warnings():  # the note says it
            warnings.simplefilter("ignore", require("sklearn.exceptions", EXTRA).ConvergenceWarning)
            model.fit(x, truth)
        if model.n_iter_.max() >= _STEPS:
            notes.append(f"The {name} was stopped after {_STEPS} steps.")
        return name, spread(model, judged)

    if learned.encoding is None:
        yield regression(f"logistic regression on {_SERIES}", 1.0, *_scaled(train, which, judged))
        return
    counts, judged_counts = _counts(train, which, judged, classes)
    bayes = require("sklearn.naive_bayes", EXTRA).MultinomialNB().fit(counts.sign(), truth)
    yield "naive Bayes on words and pairs", spread(bayes, judged_counts.sign())
    yield regression(f"logistic regression on {_TEXTS}", 10.0, *_weighted(counts, judged_counts))


def _numbers(
    learned: Labelled, train: Sequences, which: Array, truth: Array, judged: Sequences
) -> Iterable[tuple[str, Array]]:
    """Of the mean and of a ridge regression the name, and what it says, (N,)."""
    yield "mean", np.full(len(judged), truth.mean())
    if learned.encoding is None:
        seen, (x, judged_x) = _SERIES, _scaled(train, which, judged)
    else:
        seen, (x, judged_x) = _TEXTS, _weighted(*_counts(train, which, judged))
    model = require("sklearn.linear_model", EXTRA).Ridge(alpha=1.0).fit(x, truth)
    yield f"ridge regression on {seen}", model.predict(judged_x)


def _counts(train: Sequences, which: Array, judged: Sequences, classes: int = 1) -> tuple[Any, Any]:
    """How often words and pairs stand in each text that is learned from, and in each that is judged; sparse.

    Those of one text alone are left out, and the rarest where there are too many for a weight in each class.
    """
    numbers: dict[str, int] = {}
    found = _codes((train.text(k) for k in which), numbers, learn=True)
    ordered = np.sort(found[1])
    firsts = np.flatnonzero(np.diff(ordered, prepend=-1))
    known = ordered[firsts[np.diff(firsts, append=len(ordered)) >= _LEAST]]  # standing twice in one text or in two
    if not len(known):
        known = ordered[firsts]
    counts = _matrix(*found, len(which), known)
    standing = counts.getnnz(0)
    kept = np.flatnonzero(standing >= min(_LEAST, standing.max()))
    kept = np.sort(kept[np.argsort(-standing[kept], kind="stable")[: max(_FEWEST, _WEIGHTS // classes)]])
    found = _codes((judged.text(k) for k in range(len(judged))), numbers, learn=False)
    return counts[:, kept], _matrix(*found, len(judged), known[kept])


def _matrix(texts: Array, codes: Array, count: int, known: Array) -> Any:
    """How often each code that is known stands in each text, (N, codes), sparse."""
    places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    there = known[places] == codes
    ones = np.ones(there.sum(), np.float32)
    sparse = require("scipy.sparse", EXTRA)
    return sparse.csr_matrix((ones, (texts[there], places[there])), (count, len(known)))


def _codes(texts: Iterable[str], numbers: dict[str, int], learn: bool) -> tuple[Array, Array]:
    """Of each word and pair the text it stands in, and its code; of unknown words there are none.

    As numbers they take a fraction of the time and memory of strings.
    """
    found, lengths = [], []
    for text in texts:
        words = ProseEncoding.words_in(text)
        if learn:
            found.append(np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64))
        else:
            found.append(np.array([numbers.get(word, -1) for word in words], np.int64))
        lengths.append(len(found[-1]))
    words = np.concatenate(found)
    at = np.repeat(np.arange(len(lengths)), lengths)
    first, second = words[:-1], words[1:]
    pairs = (at[:-1] == at[1:]) & (first >= 0) & (second >= 0)
    alone = words >= 0
    codes = np.concatenate([words[alone], (first[pairs] + 1) * _MOST_WORDS + second[pairs]])
    return np.concatenate([at[alone], at[:-1][pairs]]), codes


def _weighted(counts: Any, judged: Any) -> tuple[Any, Any]:
    """The logarithms of counts, rare words and pairs weighted up."""
    weights = require("sklearn.feature_extraction.text", EXTRA).TfidfTransformer(sublinear_tf=True).fit(counts)
    return weights.transform(counts), weights.transform(judged)


def _scaled(train: Sequences, which: Array, judged: Sequences) -> tuple[Array, Array]:
    """The summaries of the series that are learned from, and of those that are judged, in deviations."""
    learned = summaries(train, which)
    scaler = require("sklearn.preprocessing", EXTRA).StandardScaler().fit(learned)
    return scaler.transform(learned), scaler.transform(summaries(judged))


def summaries(data: Sequences, which: Array | None = None) -> Array:
    """Of each series the mean of each channel in four parts, its deviation, its mean change, and its length."""
    rows = []
    for k in range(len(data)) if which is None else which:
        values = np.nan_to_num(data.of(k).astype(np.float64))  # (T, C)
        parts = [part.mean(0) if len(part) else values.mean(0) for part in np.array_split(values, _PARTS)]
        change = np.abs(np.diff(values, axis=0)).mean(0) if len(values) > 1 else np.zeros(values.shape[1])
        rows.append(np.concatenate([*parts, values.std(0), change, [len(values)]]))
    return np.stack(rows)
