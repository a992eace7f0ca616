"""`holdfast.SequenceClassifier` and `holdfast.SequenceRegressor`: whole sequences in scikit-learn's manner."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from holdfast.data import Content, DataError
from holdfast.extras import require
from holdfast.training import DATA, Watcher

from ..estimator import Estimator
from ..fitting import paths_of
from ..task import Sources
from .answers import Answers, AnswerStream
from .baselines import EXTRA
from .given import classes_of, contents_of, keep, keep_classes, kept_classes, labels_of, numbers_of, which_of
from .measures import of_numbers
from .task import Classify, Regress, SequenceRun

Array = np.ndarray[Any, Any]

_CLASSES = f"{DATA}/classes.json"  # in a run's folder: what its classes were called in memory
_FILES = {"data": "train", "valid": "valid", "test": "test"}  # of data that were given in memory, by their part


class _Sequences(Estimator[SequenceRun]):
    """What both have in common.

    Sequences are texts or series of numbers, of any lengths: a list, a column or an array of texts, or a list of
    arrays, each (T, C), or (T,) of one channel. A single array of all series is taken where `order` says what its axes
    are. A value that is missing is NaN.
    """

    extras: ClassVar[Mapping[str, Any]] = {"order": ""}
    order: str
    _answers: Answers

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        out: str | Path | None = None,
        valid: Any = None,
        test: Any = None,
        watcher: Watcher | None = None,
    ) -> Self:
        """Learn from sequences and what is said of each.

        Args:
            X: the sequences; or without y, one path or several of files with labels, as `holdfast fit` takes them.
            y: a label for each.
            out: the run's folder, which is made; by default a temporary one, until `save`.
            valid: a pair of X and y to choose on, or paths where X are; by default a tenth is put aside.
            test: the same, which only `evaluate` reads.
            watcher: who is told what happens.

        Raises:
            DataError: something is not as it must be; the message names it.
            OptionError: a parameter is not as it must be.
        """
        given = {name: part for name, part in (("data", X), ("valid", valid), ("test", test)) if part is not None}
        if y is None:
            sources = Sources(**{name: self._paths(part) for name, part in given.items()})
            self._learn(lambda _: sources, out, watcher, in_memory=False)
        else:
            pairs = {name: (X, y) if name == "data" else _pair(name, part) for name, part in given.items()}
            self._learn(lambda folder: self._kept(pairs, folder), out, watcher, in_memory=True)
        return self

    def _take(self, fitted: SequenceRun) -> None:
        super()._take(fitted)
        self._answers = Answers(fitted)

    def _paths(self, given: Any) -> tuple[str, ...]:
        several = given if isinstance(given, (list, tuple)) else [given]
        if not several or not all(isinstance(one, (str, Path)) for one in several):
            raise DataError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: only paths of files "
                "bring their labels"
            )
        return paths_of(several)

    def _kept(self, pairs: Mapping[str, tuple[Any, Any]], folder: Path) -> Sources:
        """Put data that are in memory into the run's folder."""
        read = {}
        for name, (X, _) in pairs.items():
            read[name] = contents_of(X, self.order, "X" if name == "data" else f"{name}[0]")
            _refuse_other_kind(read[name][0], read["data"][0], name)
        said = self._labels({name: (y, len(read[name])) for name, (_, y) in pairs.items()}, folder)
        return Sources(
            **{name: (str(keep(folder / _FILES[name], read[name], said[name])),) for name in pairs},
        )

    @abstractmethod
    def _labels(self, given: Mapping[str, tuple[Any, int]], folder: Path) -> Mapping[str, Sequence[Any]]:
        """What a file says of each sequence, of labels and their number by the name of their part."""

    # Saying.

    def _read(self, X: Any) -> list[Content]:
        """Sequences that the run can read."""
        _ = self.run  # there must be one
        found = contents_of(X, self.order)
        for k, content in enumerate(found):
            if fault := self._answers.fault_of(content):
                raise DataError(f"X[{k}]: {fault}")
        return found

    def _said(self, X: Any) -> Array:
        """What the run says of each sequence, (N, …)."""
        contents = self._read(X)
        return self._answers.of(contents)

    def _said_by_step(self, X: Any) -> list[Array]:
        """What it would say of each if it ended with each of its steps, (T, …) of each."""
        self.run.model.refuse_both_directions()
        return self._answers.by_step(self._read(X))

    def _stream(self) -> AnswerStream:
        """What the run says of a sequence that comes step by step."""
        self.run.model.refuse_both_directions()
        return self._answers.stream()

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_answers" or state["_fitted"]}

    def _tags(self, kind: str, **more: Any) -> Any:
        """What scikit-learn asks an estimator about itself."""
        utils = require("sklearn.utils", EXTRA)
        return utils.Tags(
            estimator_type=kind,
            target_tags=utils.TargetTags(required=True),
            input_tags=utils.InputTags(
                one_d_array=not self.order,
                two_d_array=self.order == "NT",
                three_d_array=len(self.order) == 3,
                string=not self.order,
                allow_nan=True,
            ),
            **{name: getattr(utils, made)() for name, made in more.items()},
        )


class SequenceClassifier(_Sequences):
    """Learns of which class whole sequences are: texts, or series of numbers.

    >>> texts = ["a fine film", "a dull film", "fine and moving", "dull and long"] * 8
    >>> model = SequenceClassifier(steps=40, hidden=8, embedding=8).fit(texts, ["good", "bad"] * 16)
    >>> model.predict(["a moving film"]).shape, model.classes_.tolist(), model.predict_proba(texts).shape
    ((1,), ['bad', 'good'], (32, 2))

    It follows scikit-learn's conventions: pipelines, `cross_val_score` and grid searches work. Sequences are texts or
    series of any lengths: a list, a column or an array of texts; or a list of arrays, each (T, C), or (T,) of one
    channel; NaN where a value is missing. What was fitted is a run's folder, as `holdfast fit classify` makes it, and
    `holdfast.load` gives it back.

    Args:
        options: those of `ClassifyOptions`, by name: `hidden=64`, `minutes=5`, and
            order: what the axes of an array of all series are: "NTC", "TNC" or "NCT" of 3 (series, steps, channels);
            "NT" of 2. Empty: such arrays are refused.

    Attributes:
        classes_: the labels in the order of the columns of `predict_proba`, as they were given; of a run that learned
            from files, their names.
    """

    task = Classify()

    def _take(self, fitted: SequenceRun) -> None:
        super()._take(fitted)
        known = fitted.facts["classes"]
        self.classes_, names = kept_classes(fitted.folder / _CLASSES, known)
        self._columns = [known.index(name) for name in names]  # of what the run says, in the order of the labels

    def _labels(self, given: Mapping[str, tuple[Any, int]], folder: Path) -> Mapping[str, Sequence[str]]:
        classes, names, which = classes_of(*given["data"])
        found = {"data": which}
        for name, labels in given.items():
            if name != "data":
                found[name] = which_of(*labels, classes, f"{name}[1]")
        folder.mkdir(parents=True, exist_ok=True)
        keep_classes(folder / Path(_CLASSES).name, names, classes)
        return {name: [names[k] for k in which] for name, which in found.items()}

    def predict(self, X: Any) -> Array:
        """The most likely class of each sequence, (N,)."""
        chosen = self.predict_proba(X).argmax(1)
        found: Array = self.classes_[chosen]
        return found

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class for each sequence, (N, K)."""
        found: Array = self._said(X)[:, self._columns]
        return found

    def predict_proba_steps(self, X: Any) -> list[Array]:
        """The probabilities after each step, as if the sequence ended there: (T, K) of each sequence.

        All steps are read, however many: `longest` does not hold.

        Raises:
            ValueError: the model reads from the end too.
        """
        return [said[:, self._columns] for said in self._said_by_step(X)]

    def stream(self) -> ClassifierStream:
        """One sequence step by step: `stream.step(…)` gives the probabilities so far.

        Raises:
            ValueError: the model reads from the end too.
        """
        return ClassifierStream(self._stream(), self._columns)

    def score(self, X: Any, y: Any) -> float:
        """The share of sequences whose class is right."""
        found = self.predict(X)
        return float(np.mean(found == labels_of(y, len(found))))

    def __sklearn_tags__(self) -> Any:
        return self._tags("classifier", classifier_tags="ClassifierTags")


class ClassifierStream:
    """A sequence that a classifier reads step by step.

    Args:
        stream: what the run says.
        columns: of it, in the order of the classifier's classes.
    """

    def __init__(self, stream: AnswerStream, columns: Sequence[int]) -> None:
        self._stream, self._columns = stream, columns

    def step(self, x: Any) -> Array:
        """The probabilities of the classes after one more step, (K,).

        Args:
            x: of a text the next piece, such as a word; of a series the next row, (C,), or a number of one channel.

        Raises:
            ValueError: it is no step of what the model reads.
        """
        found: Array = self._stream.step(x)[self._columns]
        return found

    def reset(self) -> None:
        """Begin a new sequence."""
        self._stream.reset()


class SequenceRegressor(_Sequences):
    """Learns what number is said of whole sequences: texts, or series of numbers.

    >>> series = [np.sin(np.arange(20.0) * speed) for speed in np.linspace(0.1, 1, 30)]
    >>> model = SequenceRegressor(steps=40, hidden=8).fit(series, np.linspace(0.1, 1, 30))
    >>> model.predict(series).shape
    (30,)

    It follows scikit-learn's conventions: pipelines, `cross_val_score` and grid searches work. Sequences are given as
    to `SequenceClassifier`. What was fitted is a run's folder, as `holdfast fit regress` makes it, and `holdfast.load`
    gives it back.

    Args:
        options: those of `RegressOptions`, by name, and `order`, as for `SequenceClassifier`.
    """

    task = Regress()

    def _labels(self, given: Mapping[str, tuple[Any, int]], folder: Path) -> Mapping[str, Sequence[float]]:
        return {
            name: numbers_of(*labels, "y" if name == "data" else f"{name}[1]").tolist()
            for name, labels in given.items()
        }

    def predict(self, X: Any) -> Array:
        """The number of each sequence, (N,)."""
        return self._said(X)

    def predict_steps(self, X: Any) -> list[Array]:
        """The number after each step, as if the sequence ended there: (T,) of each sequence.

        All steps are read, however many: `longest` does not hold.

        Raises:
            ValueError: the model reads from the end too.
        """
        return self._said_by_step(X)

    def stream(self) -> AnswerStream:
        """One sequence step by step: `stream.step(…)` gives the number so far.

        Raises:
            ValueError: the model reads from the end too.
        """
        return self._stream()

    def score(self, X: Any, y: Any) -> float:
        """The share of the truth's variance that is explained, R²."""
        found = self.predict(X)
        return of_numbers(found, numbers_of(y, len(found)))["r2"]

    def __sklearn_tags__(self) -> Any:
        return self._tags("regressor", regressor_tags="RegressorTags")


def _pair(name: str, given: Any) -> tuple[Any, Any]:
    if not isinstance(given, (list, tuple)) or len(given) != 2:
        raise DataError(f"{name} must be a pair, of sequences and of what is said of each")
    return given[0], given[1]


def _refuse_other_kind(content: Content, first: Content, name: str) -> None:
    """Refuse a part of other sequences than those that are learned from."""
    kinds = ["texts" if isinstance(one, str) else f"series of {one.shape[1]} channels" for one in (content, first)]
    if kinds[0] != kinds[1]:
        raise DataError(f"{name} holds {kinds[0]}, but X holds {kinds[1]}")
