"""The estimators of sequences: what they take, give back and refuse, and scikit-learn's own checks."""

from __future__ import annotations

import gc
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

import holdfast
from holdfast import SequenceClassifier, SequenceRegressor
from holdfast.data import DataError
from holdfast.training import OptionError, RunError

TINY: dict[str, Any] = {"steps": 30, "hidden": 8, "embedding": 4, "batch_size": 8, "evaluations": 2, "dropout": 0.0}
LEARNING = {
    **TINY,
    "steps": 80,
    "warm_up": 5,
    "learning_rate": 0.03,
    "average": 0.0,
    "input_dropout": 0.0,
    "word_dropout": 0.0,
    "weight_drop": 0.0,
}
Array = np.ndarray[Any, Any]


def _texts(count: int = 40, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of 2 to 8 words that hold one of two words, and which."""
    draw = np.random.default_rng(seed)
    texts, labels = [], []
    for k in range(count):
        words = draw.choice(["it", "was", "a", "film", "and", "then"], draw.integers(1, 8)).tolist()
        label = ("bad", "good")[k % 2]
        words.insert(draw.integers(len(words) + 1), label)
        texts.append(" ".join(words))
        labels.append(label)
    return texts, labels


def _series(count: int = 40, channels: int = 2, seed: int = 0) -> tuple[list[Array], Array]:
    """Series of 4 to 12 steps whose first channel rises or falls, and which."""
    draw = np.random.default_rng(seed)
    rises = np.arange(count) % 2
    found = []
    for each in rises:
        steps = draw.integers(4, 13)
        one = draw.normal(size=(steps, channels)) * 0.3
        one[:, 0] += np.linspace(-1, 1, steps) * (1 if each else -1)
        found.append(one)
    return found, rises


@pytest.fixture(scope="module")
def of_texts() -> SequenceClassifier:
    return SequenceClassifier(**LEARNING, bidirectional=False).fit(*_texts())


@pytest.fixture(scope="module")
def of_series() -> SequenceClassifier:
    return SequenceClassifier(**LEARNING, bidirectional=False, pooling=("last", "attention")).fit(*_series())


@pytest.fixture(scope="module")
def of_numbers() -> SequenceRegressor:
    series, rises = _series()
    return SequenceRegressor(**LEARNING, bidirectional=False).fit(series, rises * 10.0 + 100)


# What goes in.


def test_words_that_tell_the_class_are_learned(of_texts: SequenceClassifier) -> None:
    texts, labels = _texts(seed=1)
    assert of_texts.score(texts, labels) > 0.9
    assert of_texts.score(texts, labels) == accuracy_score(labels, of_texts.predict(texts))


@pytest.mark.parametrize(
    "held",
    [list, tuple, np.array, lambda x: np.array(x, object), pd.Series, lambda x: pd.Series(x, index=range(40, 0, -1))],
)
def test_texts_may_be_held_in_several_ways(of_texts: SequenceClassifier, held: Callable[..., Any]) -> None:
    texts, _ = _texts()
    np.testing.assert_array_equal(of_texts.predict(held(texts)), of_texts.predict(texts))


def test_ragged_series_are_learned_and_each_is_answered_alone(of_series: SequenceClassifier) -> None:
    series, rises = _series(seed=1)
    assert of_series.score(series, rises) > 0.9
    alone = np.concatenate([of_series.predict_proba([one]) for one in series])
    np.testing.assert_allclose(of_series.predict_proba(series), alone, atol=1e-6)
    held = np.empty(len(series), object)
    held[:] = series
    np.testing.assert_array_equal(of_series.predict(held), of_series.predict(series))


def test_an_array_is_read_in_the_order_that_is_said(of_series: SequenceClassifier) -> None:
    x = np.random.default_rng(0).normal(size=(5, 7, 2))  # N, T, C
    expected = of_series.predict_proba([*x])
    for order, axes in (("NTC", (0, 1, 2)), ("TNC", (1, 0, 2)), ("NCT", (0, 2, 1))):
        of_series.set_params(order=order)
        np.testing.assert_allclose(of_series.predict_proba(x.transpose(axes)), expected, atol=1e-12)
    of_series.set_params(order="")
    with pytest.raises(DataError, match=r"X is an array \(5, 7, 2\): say what its axes are with order='NTC'"):
        of_series.predict(x)


def test_rows_of_a_table_are_series_if_that_is_said() -> None:
    draw = np.random.default_rng(0)
    rises = np.arange(30) % 2
    x = draw.normal(size=(30, 6)) * 0.1 + np.outer(rises * 2 - 1, np.linspace(-1, 1, 6))
    model = SequenceClassifier(**LEARNING, order="NT").fit(pd.DataFrame(x), rises)
    assert model.score(x, rises) > 0.9
    np.testing.assert_allclose(model.predict_proba([*x]), model.predict_proba(x), atol=1e-12)
    with pytest.raises(DataError, match=r"X is an array \(30, 6\): say what its axes are with order='NT'"):
        model.set_params(order="NTC").predict(x)


def test_values_may_be_missing_where_some_were_in_training() -> None:
    series, rises = _series()
    series[0][1, 0] = np.nan
    model = SequenceClassifier(**TINY).fit(series, rises)
    series[1][:2] = np.nan
    assert np.isfinite(model.predict_proba(series)).all()


def test_a_missing_value_is_refused_where_none_was_in_training(of_series: SequenceClassifier) -> None:
    series, _ = _series()
    series[3][0, 1] = np.nan
    with pytest.raises(
        DataError, match=r"X\[3\]: a missing value \(NaN\), but the model learned from series without any"
    ):
        of_series.predict(series)


def test_files_are_learned_from_as_the_command_line_takes_them(tmp_path: Path) -> None:
    for name, seed in (("train", 0), ("valid", 1), ("test", 2)):
        pd.DataFrame(dict(zip(("text", "label"), _texts(seed=seed)))).to_csv(tmp_path / f"{name}.csv", index=False)
    train, valid, test = (tmp_path / f"{name}.csv" for name in ("train", "valid", "test"))
    model = SequenceClassifier(**LEARNING).fit(train, valid=[str(valid)], test=test, out=tmp_path / "run")
    assert model.run.config["data"]["data"] == [str(train)]
    assert model.evaluate(baselines=False).split == "test"
    assert model.classes_.tolist() == ["bad", "good"]


def test_parts_to_choose_on_and_to_test_on_are_pairs(tmp_path: Path) -> None:
    model = SequenceClassifier(**LEARNING)
    model.fit(*_texts(), valid=_texts(10, 1), test=_texts(12, 2), out=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "data").iterdir()) == [
        "classes.json",
        "test.jsonl",
        "train.jsonl",
        "valid.jsonl",
    ]
    assert len((tmp_path / "run" / "data" / "test.jsonl").read_text().splitlines()) == 12
    assert model.evaluate(baselines=False).measures["accuracy"] == model.score(*_texts(12, 2))


# What comes out.


@pytest.mark.sweep(every=4)
@pytest.mark.parametrize(
    "labels",
    [[False, True], [10, 9], [-1.0, 1.0], ["10", "9"], ["b", "a"], [" a", "b"]],
    ids=str,
)
def test_labels_come_back_as_they_were_given(labels: list[Any], tmp_path: Path) -> None:
    texts, said = _texts()
    y = np.array([labels[one == "good"] for one in said])
    model = SequenceClassifier(**LEARNING).fit(texts, y, out=tmp_path / "run")
    np.testing.assert_array_equal(model.classes_, np.unique(y))
    assert model.score(texts, y) > 0.9
    assert model.predict(texts).dtype.kind == y.dtype.kind
    loaded = holdfast.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.classes_, model.classes_)
    np.testing.assert_array_equal(loaded.predict(texts), model.predict(texts))


def test_probabilities_are_those_of_the_labels_in_their_order() -> None:
    """A run sorts classes by their numbers, 9 before 10; NumPy sorts texts by their letters."""
    texts, said = _texts()
    y = ["10" if one == "good" else "9" for one in said]
    model = SequenceClassifier(**LEARNING).fit(texts, y)
    assert model.run.facts["classes"] == ["9", "10"]
    assert model.classes_.tolist() == ["10", "9"]
    probabilities = model.predict_proba(texts)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(np.array(["10", "9"])[probabilities.argmax(1)], model.predict(texts))


def test_numbers_are_said_in_their_own_scale(of_numbers: SequenceRegressor) -> None:
    series, rises = _series(seed=1)
    y = rises * 10.0 + 100
    assert of_numbers.score(series, y) == pytest.approx(r2_score(y, of_numbers.predict(series)))
    assert of_numbers.score(series, y) > 0.7


# Early decisions.


def test_what_is_said_after_a_step_is_what_is_said_of_the_beginning(of_series: SequenceClassifier) -> None:
    series, _ = _series(6)
    for one, steps in zip(series, of_series.predict_proba_steps(series)):
        assert steps.shape == (len(one), 2)
        expected = of_series.predict_proba([one[:k] for k in range(1, len(one) + 1)])
        np.testing.assert_allclose(steps, expected, atol=1e-6)


def test_a_stream_of_rows_says_the_same(of_series: SequenceClassifier, of_numbers: SequenceRegressor) -> None:
    series, _ = _series(4)
    stream = of_series.stream()
    for one, expected in zip(series, of_series.predict_proba_steps(series)):
        np.testing.assert_allclose([stream.step(row) for row in one], expected, atol=1e-6)
        stream.reset()
    steps = of_numbers.predict_steps(series)
    numbers = of_numbers.stream()
    np.testing.assert_allclose([numbers.step(row.tolist()) for row in series[0]], steps[0], rtol=1e-6)
    np.testing.assert_allclose([each[-1] for each in steps], of_numbers.predict(series), rtol=1e-6)


def test_a_stream_of_texts_takes_words(of_texts: SequenceClassifier) -> None:
    text = "It wasn't a GOOD film, unheard-of"
    (expected,) = of_texts.predict_proba_steps([text])
    stream = of_texts.stream()
    found = [stream.step(word) for word in text.split()]
    ends = [0, 2, 3, 4, 6, 9]  # was n't; film ,; unheard - of
    np.testing.assert_allclose(found, expected[ends], atol=1e-6)
    with pytest.raises(ValueError, match="a step of a text holds a word at least; got ' '"):
        stream.step(" ")
    with pytest.raises(ValueError, match="a step of a text is a string"):
        stream.step(3)


def test_all_steps_are_read_however_many_a_whole_sequence_may_have() -> None:
    texts, labels = _texts()
    model = SequenceClassifier(**TINY, bidirectional=False, longest=4).fit(texts, labels)
    long = "it was a film and then it was good"
    assert len(model.predict_proba_steps([long])[0]) == 9
    np.testing.assert_allclose(model.predict_proba([long]), model.predict_proba(["it was was good"]), atol=1e-12)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1.0], "the step has 1 channels, but the model learned from 2"),
        ([[1.0, 2.0]], "a step of a series is a row of finite numbers"),
        ([1.0, np.inf], "a step of a series is a row of finite numbers"),
        ("good", "a step of a series is a row of finite numbers"),
        ([1.0, np.nan], r"the step has a missing value \(NaN\)"),
    ],
)
def test_a_row_that_is_none_is_refused(of_series: SequenceClassifier, row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of_series.stream().step(row)


def test_a_model_that_reads_from_the_end_too_says_nothing_before_it() -> None:
    model = SequenceClassifier(**TINY).fit(*_texts())
    for says in (model.stream, lambda: model.predict_proba_steps(["good"])):
        with pytest.raises(ValueError, match="train one with --no-bidirectional"):
            says()


# The run.


def test_a_loaded_run_is_the_same_estimator(
    of_texts: SequenceClassifier, of_numbers: SequenceRegressor, tmp_path: Path
) -> None:
    for model, x in ((of_texts, _texts()[0]), (of_numbers, _series()[0])):
        expected = model.predict(x)
        folder = clone(model).of(model.run).save(tmp_path / type(model).__name__)
        loaded = holdfast.load(folder)
        assert type(loaded) is type(model)
        assert loaded.get_params() == model.get_params()
        np.testing.assert_array_equal(loaded.predict(x), expected)


def test_a_pickle_needs_no_folder(tmp_path: Path) -> None:
    texts, labels = _texts()
    model = SequenceClassifier(**TINY).fit(texts, labels)
    packed, expected, measures = (
        pickle.dumps(model),
        model.predict_proba(texts),
        model.evaluate(baselines=False).measures,
    )
    folder = model.run.folder
    del model
    gc.collect()  # an error that was handled in the training may still hold its frames
    assert not folder.exists()  # gone with its estimator
    found = pickle.loads(packed)
    np.testing.assert_array_equal(found.predict_proba(texts), expected)
    assert found.evaluate(baselines=False).measures == measures
    assert found.save(tmp_path / "run") == found.run.folder


def test_data_that_are_refused_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        SequenceClassifier(**TINY).fit(_texts()[0], ["good"] * 40, out=tmp_path / "run")
    assert not (tmp_path / "run").exists() or not [*(tmp_path / "run").iterdir()]


# What is refused.

TEXTS, LABELS = _texts()
SERIES, RISES = _series()
NAN = [*LABELS[:3], None, *LABELS[4:]]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (["good", " "], [0, 1], r"X\[1\]: the text is empty"),
        (["good", None], [0, 1], r"X\[1\]: nothing, where a text or a series should be"),
        ([SERIES[0], np.zeros((0, 2))], [0, 1], r"X\[1\]: the series has no steps"),
        (
            [SERIES[0], np.zeros((3, 4))],
            [0, 1],
            r"X\[1\] is a series of 4 channels, but X\[0\] is a series of 2 channels",
        ),
        ([SERIES[0], "good"], [0, 1], r"X\[1\] is a text, but X\[0\] is a series of 2 channels"),
        ([SERIES[0], SERIES[1] * np.inf], [0, 1], r"X\[1\]: an infinite value"),
        ([SERIES[0], [["a", "b"]]], [0, 1], r"X\[1\] must hold numbers"),
        ([1.0, 2.0], [0, 1], r"X\[0\]: 1.0, but a sequence is a text, or a series"),
        ([SERIES[0], [[1.0, 2.0], [3.0]]], [0, 1], r"X\[1\]: lists of unlike lengths"),
        ("good", ["a"], "X must be a list of sequences, or an array; got 'good'"),
        ({*TEXTS}, LABELS, "X must be a list of sequences, or an array; got {"),
        (dict(zip(TEXTS, LABELS)), LABELS, "X must be a list of sequences, or an array; got {"),
        ([], [], "X is empty"),
        (TEXTS, LABELS[:-1], "X and y must be as many; got 40 sequences and 39 labels"),
        (TEXTS, ["a"] * 40, "y holds one class only, 'a'"),
        (TEXTS, NAN, r"y\[3\] is None"),
        (TEXTS, [np.nan, *range(39)], r"y\[0\] is nan"),
        (TEXTS, pd.Series([pd.NA, *LABELS[1:]], dtype=object), r"y\[0\] is <NA>"),
        (TEXTS, [0.5, *range(39)], "Unknown label type: y holds continuous numbers such as 0.5"),
        (TEXTS, [1, "1"] * 20, "y must hold labels of one kind"),
        (TEXTS, ["a", " a"] * 20, "y has two labels that are both called 'a' in a file"),
        (TEXTS, [[0], [1]] * 20, r"y must have one axis, a label for each sequence; got \(40, 1\)"),
        (TEXTS, None, "requires y to be passed, but the target y is None|there is no"),
        (SERIES, None, "requires y to be passed, but the target y is None"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused_in_one_line(x: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        SequenceClassifier(**TINY).fit(x, y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"] * 40, r"y must hold numbers; got 'a' \(SequenceClassifier learns classes\)"),
        ([np.inf] + [1.0] * 39, r"y\[0\] is inf"),
        ([1.0, np.nan] * 20, r"y\[1\] is nan"),
    ],
)
def test_numbers_that_cannot_be_learned_are_refused(y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SequenceRegressor(**TINY).fit(TEXTS, y)


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        ((["good"], ["fine"]), r"valid\[1\]\[0\] is 'fine', a class of which none was learned from"),
        ((["good"], ["good", "bad"]), r"X and valid\[1\] must be as many"),
        ((SERIES, LABELS), "valid holds series of 2 channels, but X holds texts"),
        (["good"], "valid must be a pair"),
    ],
)
def test_other_parts_must_fit_what_is_learned_from(valid: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SequenceClassifier(**TINY).fit(TEXTS, LABELS, valid=valid)


def test_sequences_of_another_kind_than_were_learned_are_refused(
    of_texts: SequenceClassifier, of_series: SequenceClassifier
) -> None:
    with pytest.raises(DataError, match=r"X\[0\]: a text, but the model reads series"):
        of_series.predict(["good"])
    with pytest.raises(DataError, match=r"X\[0\]: a series, but the model reads texts"):
        of_texts.predict(SERIES)
    with pytest.raises(DataError, match=r"X\[0\]: 3 channels, but the model learned from 2"):
        of_series.predict([np.zeros((4, 3))])


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor])
def test_nothing_is_said_before_something_was_learned(kind: type[Any]) -> None:
    model = kind()
    for says in (lambda: model.predict(TEXTS), lambda: model.stream(), lambda: model.save("x")):
        with pytest.raises(RunError, match=f"the {kind.__name__} has learned nothing yet: call fit first") as caught:
            says()
        assert isinstance(caught.value, NotFittedError)
        assert isinstance(pickle.loads(pickle.dumps(caught.value)), NotFittedError)
    assert not hasattr(model, "classes_")


def test_a_wrong_parameter_is_refused_when_it_learns() -> None:
    with pytest.raises(OptionError, match="hidden must be at least 0; got -1"):
        SequenceClassifier(hidden=-1).fit(TEXTS, LABELS)
    with pytest.raises(DataError, match="order must be one of NT, NTC, TNC, NCT, or empty; got 'CNT'"):
        SequenceClassifier(order="CNT").fit(SERIES, RISES)
    with pytest.raises(TypeError, match=r"no option 'hiden'; did you mean hidden\?"):
        SequenceClassifier(hiden=4)


# scikit-learn.


def test_scikit_learn_knows_what_they_are() -> None:
    assert is_classifier(SequenceClassifier())
    assert is_regressor(SequenceRegressor())
    assert repr(SequenceClassifier(hidden=3, order="NT")) == "SequenceClassifier(hidden=3, order='NT')"
    assert (
        clone(SequenceClassifier(pooling=("last",))).get_params() == SequenceClassifier(pooling=("last",)).get_params()
    )


@pytest.mark.parametrize("kind", [pytest.param("texts", marks=pytest.mark.full), "ragged", "array"])
def test_they_are_cross_validated_and_searched(kind: str) -> None:
    x: Any = TEXTS
    if kind != "texts":
        x = np.empty(40, object)
        x[:] = SERIES
        x = [*x] if kind == "ragged" else x
    y = LABELS if kind == "texts" else RISES
    made = SequenceClassifier(**{**LEARNING, "evaluations": 1})
    pipeline = make_pipeline(FunctionTransformer(), made)
    assert cross_val_score(pipeline, x, y, cv=2).mean() > 0.8
    if kind == "array":
        rates = {"learning_rate": [1e-7, 0.03]}
        search = GridSearchCV(made, rates, cv=2, scoring=["accuracy", "neg_log_loss"], refit="accuracy").fit(x, y)
        assert search.best_params_ == {"learning_rate": 0.03}
        assert search.score(x, y) > 0.8
        assert np.isfinite(search.cv_results_["mean_test_neg_log_loss"]).all()


NOT_OURS = {
    "check_n_features_in": "series may be of any length: a table's width is no number of features",
    "check_n_features_in_after_fitting": "the same",
    "check_classifiers_train": "the same: it ends with a table of another width, which is read",
    "check_dtype_object": "it wants a TypeError where all faults of data are DataErrors, which are ValueErrors",
    "check_estimators_empty_data_messages": "it wants NumPy's words for a series without steps",
    "check_fit2d_predict1d": "it wants the words 'Reshape your data' where a number is given for a sequence",
    "check_fit2d_1sample": "it wants the words '1 sample' where there are too few examples to put some aside",
    "check_supervised_y_2d": "a table of labels is refused, not made flat with a warning",
    "check_regressors_train": "it wants a fit to a table of unrelated columns, which as a series takes longer to learn",
    "check_methods_subset_invariance": "it compares to 1e-7, and the model computes in float32",
}


def _checks(kind: type[Any]) -> list[Any]:
    """scikit-learn's checks, by name, on tables whose rows are series: other kinds of data it has none for."""
    made = kind(**{**TINY, "steps": 4, "evaluations": 1, "batch_size": 16}, order="NT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that they do not inherit from BaseEstimator
        found = [*estimator_checks_generator(made)]
    named = {}
    for model, check in found:
        name = getattr(check, "func", check).__name__
        if name not in NOT_OURS and name != "check_array_api_input":  # which wants an environment variable
            more = "".join(f", {key}={value}" for key, value in getattr(check, "keywords", {}).items())
            named[name + more] = pytest.param(model, check, id=f"{kind.__name__}-{name}{more}")
    return [*named.values()]


def _checks_of_both() -> list[Any]:
    """The checks of classifiers, and those that regressors alone have; the others of regressors where there is time."""
    classifier, regressor = _checks(SequenceClassifier), _checks(SequenceRegressor)
    known = {_name(param) for param in classifier}
    for param in regressor:
        marks = [pytest.mark.full] if _name(param) in known else []
        classifier.append(pytest.param(*param.values, id=param.id, marks=marks))
    return classifier


def _name(param: Any) -> str:
    return str(param.id).partition("-")[2]


@pytest.mark.parametrize(("model", "check"), _checks_of_both())
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_s_checks_pass(model: Any, check: Callable[[Any], None]) -> None:
    check(model)


@pytest.mark.parametrize("data", [_texts, _series], ids=["texts", "series"])
def test_equal_data_in_memory_are_kept_once(
    data: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(3):
        SequenceClassifier(**{**TINY, "steps": 1}).fit(*data())
    assert len([*(tmp_path / "holdfast" / "classify").iterdir()]) == 1
