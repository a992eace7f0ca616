"""Simple methods that learn from the same sequences: what is worth having must beat them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import pairwise
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


def baselines(learned: Labelled, judged: Sequences) -> Compared:
    """The measures of simple methods.

    Args:
        learned: what they learn from: its training part.
        judged: what they are measured on.
    """
    require("sklearn", EXTRA)
    train = learned.parts["train"]
    notes = []
    which = np.arange(len(train))
    if len(which) > LEARNED:
        which = np.sort(np.random.default_rng(0).permutation(which)[:LEARNED])
        notes.append(f"The simple methods learned from {LEARNED:,} of the {len(train):,} examples, drawn at random.")
    truth = train.said[which]
    if not learned.classes:
        return Compared(_of_numbers(learned, train, which, truth, judged), notes)
    classes = len(learned.classes)
    measures: dict[str, Mapping[str, float]] = {}
    shares = np.bincount(truth.astype(int), minlength=classes) / len(truth)
    measures["majority"] = of_classes(np.tile(shares, (len(judged), 1)), judged.said.astype(int))
    for name, probabilities in _classified(learned, train, which, truth.astype(int), judged):
        measures[name] = of_classes(probabilities, judged.said.astype(int))
    return Compared(measures, notes)


def _classified(
    learned: Labelled, train: Sequences, which: Array, truth: Array, judged: Sequences
) -> Iterable[tuple[str, Array]]:
    """Of each method its name and its probabilities, (N, K)."""
    linear = require("sklearn.linear_model", EXTRA)
    classes = len(learned.classes)

    def spread(model: Any, x: Any) -> Array:
        found = np.zeros((x.shape[0], classes))
        found[:, model.classes_] = model.predict_proba(x)
        return found

    if learned.encoding is None:
        scaler = require("sklearn.preprocessing", EXTRA).StandardScaler()
        x = scaler.fit_transform(summaries(train, which))
        model = linear.LogisticRegression(max_iter=_STEPS).fit(x, truth)
        yield (
            "logistic regression on means, deviations and changes",
            spread(model, scaler.transform(summaries(judged))),
        )
        return
    text = require("sklearn.feature_extraction.text", EXTRA)
    bayes = require("sklearn.naive_bayes", EXTRA).MultinomialNB()
    counter = text.CountVectorizer(analyzer=_words_and_pairs, binary=True, dtype=np.float32)
    x = counter.fit_transform(_texts(train, which))
    yield "naive Bayes on words and pairs", spread(bayes.fit(x, truth), counter.transform(_texts(judged)))
    del x
    weights = text.TfidfVectorizer(analyzer=_words_and_pairs, sublinear_tf=True, dtype=np.float32, min_df=2)
    x = weights.fit_transform(_texts(train, which))
    model = linear.LogisticRegression(C=10.0, max_iter=_STEPS).fit(x, truth)
    yield "logistic regression on TF-IDF of words and pairs", spread(model, weights.transform(_texts(judged)))


def _of_numbers(
    learned: Labelled, train: Sequences, which: Array, truth: Array, judged: Sequences
) -> dict[str, Mapping[str, float]]:
    """The mean, and a ridge regression."""
    ridge = partial(require("sklearn.linear_model", EXTRA).Ridge, alpha=1.0)
    measures = {"mean": of_numbers(np.full(len(judged), truth.mean()), judged.said)}
    if learned.encoding is None:
        scaler = require("sklearn.preprocessing", EXTRA).StandardScaler()
        model = ridge().fit(scaler.fit_transform(summaries(train, which)), truth)
        found = model.predict(scaler.transform(summaries(judged)))
        return {**measures, "ridge regression on means, deviations and changes": of_numbers(found, judged.said)}
    weights = require("sklearn.feature_extraction.text", EXTRA).TfidfVectorizer(
        analyzer=_words_and_pairs, sublinear_tf=True, dtype=np.float32
    )
    model = ridge().fit(weights.fit_transform(_texts(train, which)), truth)
    found = model.predict(weights.transform(_texts(judged)))
    return {**measures, "ridge regression on TF-IDF of words and pairs": of_numbers(found, judged.said)}


def _texts(data: Sequences, which: Array | None = None) -> Iterable[str]:
    return (data.text(k) for k in (range(len(data)) if which is None else which))


def _words_and_pairs(text: str) -> list[str]:
    words = [*ProseEncoding.words_in(text)]
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def summaries(data: Sequences, which: Array | None = None) -> Array:
    """Of each series the mean of each channel in four parts, its deviation, its mean change, and its length."""
    rows = []
    for k in range(len(data)) if which is None else which:
        values = np.nan_to_num(data.of(k).astype(np.float64))  # (T, C)
        parts = [part.mean(0) if len(part) else values.mean(0) for part in np.array_split(values, _PARTS)]
        change = np.abs(np.diff(values, axis=0)).mean(0) if len(values) > 1 else np.zeros(values.shape[1])
        rows.append(np.concatenate([*parts, values.std(0), change, [len(values)]]))
    return np.stack(rows)
