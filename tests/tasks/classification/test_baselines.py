"""The simple methods, against pipelines of scikit-learn."""

from __future__ import annotations

import re
import warnings
from itertools import pairwise

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, root_mean_squared_error
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from holdfast.data import Labelled
from holdfast.tasks.classification.baselines import baselines, summaries

from .helpers import labelled, of_series, of_texts, prose, random_texts

BAYES = "naive Bayes on words and pairs"
LOGISTIC = "logistic regression on TF-IDF of words and pairs"
RIDGE = "ridge regression on TF-IDF of words and pairs"
ON_SERIES = "means, deviations and changes"
TELLING = ("good", "bad", "odd")


def pieces(text: str) -> list[str]:
    """Words and pairs of the texts of these tests, whose only contraction is one."""
    words = re.findall(r"ca(?=n't)|n't|\w+", text)
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def texts(classes: int, train: int = 150, valid: int = 80) -> tuple[Labelled, list[str], list[int], list[str]]:
    learned, said = random_texts(train, 0, TELLING[:classes])
    judged, truth = random_texts(valid, 1, TELLING[:classes])
    judged[0] += " unheard of"
    encoding = prose(learned)
    parts = of_texts(learned, said, encoding), of_texts(judged, truth, encoding)
    return labelled(*parts, TELLING[:classes], encoding), learned, said, judged


@pytest.mark.parametrize("classes", [2, 3])
def test_those_of_texts_are_pipelines_of_scikit_learn(classes: int) -> None:
    data, learned, said, judged = texts(classes)
    found, truth = baselines(data, data.parts["valid"]), data.parts["valid"].said
    # Each method sees what stands in two texts.
    independent: dict[str, Pipeline] = {
        BAYES: make_pipeline(CountVectorizer(analyzer=pieces, binary=True, min_df=2), MultinomialNB()),
        LOGISTIC: make_pipeline(
            TfidfVectorizer(analyzer=pieces, sublinear_tf=True, min_df=2), LogisticRegression(C=10.0, max_iter=500)
        ),
    }
    assert set(found.measures) == {"majority", *independent}
    for name, pipeline in independent.items():
        expected = pipeline.fit(learned, said).predict_proba(judged)
        assert found.measures[name]["accuracy"] == pytest.approx(accuracy_score(truth, expected.argmax(1)))
        assert found.measures[name]["nats"] == pytest.approx(log_loss(truth, expected), rel=1e-3)
        assert list(found.said[name]) == expected.argmax(1).tolist()
        assert found.measures[name]["accuracy"] > found.measures["majority"]["accuracy"] + 0.2


def test_the_majority_says_the_most_frequent_class_with_all_their_shares() -> None:
    data, learned, said, judged = texts(3)
    dummy = DummyClassifier(strategy="prior").fit(learned, said)
    found = baselines(data, data.parts["valid"])
    assert found.measures["majority"]["nats"] == pytest.approx(
        log_loss(data.parts["valid"].said, dummy.predict_proba(judged))
    )
    assert set(found.said["majority"]) == {int(np.bincount(said).argmax())}


def test_the_numbers_of_texts_are_a_pipeline_of_scikit_learn() -> None:
    learned, said = random_texts(150, 0, TELLING)
    judged, truth = random_texts(80, 1, TELLING)
    encoding = prose(learned)
    valid = of_texts(judged, truth, encoding)
    found = baselines(labelled(of_texts(learned, said, encoding), valid, (), encoding), valid)
    pipeline = make_pipeline(TfidfVectorizer(analyzer=pieces, sublinear_tf=True, min_df=2), Ridge(alpha=1.0))
    expected = pipeline.fit(learned, said).predict(judged)
    assert found.said[RIDGE] == pytest.approx(expected, abs=1e-2)
    assert found.measures[RIDGE]["rmse"] == pytest.approx(root_mean_squared_error(truth, expected), rel=1e-2)
    assert found.said["mean"] == pytest.approx([np.mean(said)] * len(judged))


def test_words_of_one_text_alone_are_all_there_is_where_no_word_comes_twice() -> None:
    learned, encoding = ["one two", "three four"], prose(["one two three four"])
    valid = of_texts(["one", "four"], [0, 1], encoding)
    data = labelled(of_texts(learned, [0, 1], encoding), valid, ("a", "b"), encoding)
    assert baselines(data, valid).measures[BAYES]["accuracy"] == 1


def test_a_text_that_shares_no_word_is_judged_all_the_same() -> None:
    data, *_ = texts(2)
    assert data.encoding is not None
    strange = of_texts(["zzz yyy", "?"], [0, 1], data.encoding)
    for measures in baselines(data, strange).measures.values():
        assert np.isfinite(measures["nats"])


def series(count: int, seed: int) -> tuple[list[np.ndarray], list[int]]:
    draw = np.random.default_rng(seed)
    said = draw.integers(0, 2, count).tolist()
    made = [draw.normal(k, 1.5, (draw.integers(1, 9), 2)).astype(np.float32) for k in said]
    made[0][0, 0] = np.nan
    return made, said


def test_the_summary_of_a_series_is_its_parts_its_spread_its_change_and_its_length() -> None:
    steps = np.array([[1, 8], [2, 8], [3, 8], [4, 8], [7, 8], [9, 8], [np.nan, 8], [10, 8]], np.float32)
    (row,) = summaries(of_series([steps], [0]))
    first = [1, 2, 3, 4, 7, 9, 0, 10]
    levels = [value for part in (1.5, 3.5, 8, 5) for value in (part, 8)]
    changes = [1, 1, 1, 3, 2, 9, 10]
    assert row.tolist() == pytest.approx([*levels, np.std(first), 0, np.mean(changes), 0, 8])
    (short,) = summaries(of_series([steps[:1]], [0]))
    assert short.tolist() == [1, 8] * 4 + [0, 0, 0, 0, 1]


def test_those_of_series_learn_and_say_numbers_too() -> None:
    (learned, said), (judged, truth) = series(120, 0), series(80, 1)
    train, valid = of_series(learned, said), of_series(judged, truth)
    found = baselines(labelled(train, valid, ("a", "b"), channels=2), valid)
    assert set(found.measures) == {"majority", f"logistic regression on {ON_SERIES}"}
    assert found.measures[f"logistic regression on {ON_SERIES}"]["accuracy"] > 0.75
    numbers = baselines(labelled(train, valid, channels=2), valid)
    assert set(numbers.measures) == {"mean", f"ridge regression on {ON_SERIES}"}
    assert numbers.measures[f"ridge regression on {ON_SERIES}"]["r2"] > 0.2


def test_a_class_that_is_not_learned_from_is_never_said_but_can_be_judged() -> None:
    data, *_ = texts(2)
    wider = Labelled(data.parts, (*data.classes, "unseen"), data.encoding, 0, "")
    found = baselines(wider, data.parts["valid"])
    for name, measures in baselines(data, data.parts["valid"]).measures.items():
        assert found.measures[name] == pytest.approx(measures)
        assert 2 not in found.said[name]


def test_where_all_are_of_one_class_only_the_majority_is_there_and_a_note_says_why() -> None:
    data, *_ = texts(2)
    train = data.parts["train"]
    alone = of_texts([train.text(k) for k in range(4)], [1] * 4, prose(["a"]))
    found = baselines(labelled(alone, data.parts["valid"], TELLING[:2], data.encoding), data.parts["valid"])
    assert list(found.measures) == ["majority"]
    assert "are of one class" in found.notes[0]


def test_a_regression_that_is_stopped_says_so_in_a_note_and_warns_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.tasks.classification.baselines._STEPS", 2)
    data, *_ = texts(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = baselines(data, data.parts["valid"])
    assert found.notes == [f"The {LOGISTIC} was stopped after 2 steps."]


def test_they_learn_from_no_more_texts_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.tasks.classification.baselines.LEARNED", 100)
    data, *_ = texts(2)
    found = baselines(data, data.parts["valid"])
    assert found.notes == ["The simple methods learned from 100 of the 150 examples, drawn at random."]
    assert found.measures[BAYES]["accuracy"] > 0.6


def test_of_too_many_words_those_of_most_texts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    data, learned, said, judged = texts(2)
    monkeypatch.setattr("holdfast.tasks.classification.baselines._WEIGHTS", 40)
    monkeypatch.setattr("holdfast.tasks.classification.baselines._FEWEST", 20)
    counter = CountVectorizer(analyzer=pieces, binary=True).fit(learned)
    standing = np.asarray(counter.transform(learned).sum(0))[0]
    kept = np.sort(standing)[::-1][19]
    assert kept > np.sort(standing)[::-1][20], "the case has no tie"
    x = counter.transform(learned)[:, standing >= kept]
    expected = MultinomialNB().fit(x, said).predict_proba(counter.transform(judged)[:, standing >= kept])
    found = baselines(data, data.parts["valid"])
    assert list(found.said[BAYES]) == expected.argmax(1).tolist()
