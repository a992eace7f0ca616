"""An application, as everything that serves all of them sees it.

A task declares its options, its data, its model, its loss, its measures, its baselines and its part of the report. All
else (the loop, the folder of a run, flags and help, resuming, evaluating, the frame of the report) is the same for them
and lives elsewhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from torch import nn

from holdfast.data import Told
from holdfast.training import Devices, Problem, TrainingOptions, Watcher

from .verdict import Standing, standings

if TYPE_CHECKING:
    from .fitting import Fitted

O = TypeVar("O", bound=TrainingOptions)  # noqa: E741
D = TypeVar("D")


@dataclass(frozen=True)
class Sources:
    """Where data come from: paths, globs, folders or URLs.

    Attributes:
        data: what is trained on.
        valid: what choices are made on; empty: a part of the data.
        test: what is read once, by `evaluate`; empty: none.
        start: a run whose model the training begins with; empty: it begins with nothing learned.
    """

    data: tuple[str, ...] = ()
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    start: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What an evaluation found.

    Attributes:
        task: the task's name.
        split: "valid", "test" or "given".
        measures: the model's, by their usual names.
        baselines: of each baseline the same measures.
        notes: what a reader must know of them.
        advice: what the training would have needed, if it ended too early or behind a baseline.
    """

    task: str
    split: str
    measures: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it.

        >>> Result("text", "valid", {"nats": 1.5}, {"unigram": {"nats": 3.3}}).to_dict()
        {'task': 'text', 'split': 'valid', 'nats': 1.5, 'baselines': {'unigram': {'nats': 3.3}}}
        """
        known = {"task": self.task, "split": self.split, **_for_json(self.measures)}
        advice = {"advice": self.advice} if self.advice else {}
        return {**known, "baselines": {name: _for_json(m) for name, m in self.baselines.items()}, **advice}


@dataclass(frozen=True)
class Compared:
    """How simple methods did that learned from the same data.

    Attributes:
        measures: of each by its name, the same as the model's.
        notes: what must be said of them.
        by_step: of each the mean absolute error of each step to come, where the task forecasts; (H,).
        said: of each what it says of each sequence, where the task says one thing of it: the number of a class, or a
            number; (N,).
    """

    measures: Mapping[str, Mapping[str, float]]
    notes: Sequence[str] = ()
    by_step: Mapping[str, Sequence[float]] = field(default_factory=dict)
    said: Mapping[str, Sequence[float]] = field(default_factory=dict)


def _for_json(measures: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers as JSON has them: it knows no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in measures.items()}


@dataclass(frozen=True)
class Preset:
    """Options for a kind of data.

    Attributes:
        use: what they are for, in a few words.
        options: the values, by name.
    """

    use: str
    options: Mapping[str, Any]


class Task(ABC, Generic[O, D]):
    """An application.

    Attributes:
        name: as on the command line.
        summary: what it does, in one line.
        options: its options dataclass.
        presets: options by the kind of data they are for.
        objective: the measure that is to become small.
        curve: the measure that the loss of a step is one of, and that is drawn beside it; by default the objective.
        headline: the measures that the terminal shows; empty: all of them.
        compared_by: the measures by which the model is compared with simple methods, and what they are called.
        unit: what a step's throughput counts.
        fitted: what a run that has a model becomes: a class that takes the task and the run.
        use: what to do next with a run, with {run} for its folder.
        in_two: whether files may come in twos, the sources and the targets, line for line.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    presets: ClassVar[Mapping[str, Preset]] = {}
    objective: ClassVar[str]
    curve: ClassVar[str] = ""
    headline: ClassVar[tuple[str, ...]] = ()
    compared_by: ClassVar[Mapping[str, str]] = {"nats": "loss in nats"}
    unit: ClassVar[str]
    fitted: ClassVar[type[Any]]
    use: ClassVar[str]
    options: ClassVar[type[TrainingOptions]]
    in_two: ClassVar[bool] = False

    @abstractmethod
    def read(self, sources: Sources, options: O, told: Told) -> D:
        """The data, ready for training; somebody is told while that takes long."""

    def prepare(self, sources: Sources, options: O, place: Devices, watcher: Watcher) -> Sources:
        """The sources with what must be made before the data are read."""
        return sources

    def settle(self, data: D, options: O, place: Devices) -> O:
        """What the data say to options that were left to them.

        It stands in the run's configuration: a run that goes on does not ask again.
        """
        return options

    def typical(self, options: O) -> O:
        """The options of a model that is as fast as the one that `choose` will give."""
        return options

    def choose(self, data: D, options: O, place: Devices, told: Told) -> tuple[O, dict[str, Any]]:
        """What short trials say to options that were left to them, and how each did; of a size that is settled.

        Both stand in the run's configuration, too.
        """
        return options, {}

    @abstractmethod
    def describe(self, data: D) -> dict[str, Any]:
        """What the data are, for the model card: counts, and `digest`, which tells whether they have changed."""

    @abstractmethod
    def facts(self, data: D, options: O) -> dict[str, Any]:
        """What belongs to the model beside its weights, as JSON: an alphabet, a scale."""

    @abstractmethod
    def build(self, facts: Mapping[str, Any], options: O) -> nn.Module:
        """A fresh model."""

    def start(self, model: nn.Module, data: D) -> None:
        """Put into a fresh model what the training begins with, if it begins with something that was learned."""

    def retain(self, data: D, options: O, folder: Path) -> None:
        """Keep in a run's folder what its use needs of the data, so that they are not read again for it."""

    @abstractmethod
    def problem(self, data: D, options: O, place: Devices) -> Problem:
        """What the loop trains."""

    @abstractmethod
    def evaluate(
        self, model: nn.Module, facts: Mapping[str, Any], data: D, split: str, options: O, told: Told
    ) -> dict[str, float]:
        """The measures of a model on a part of the data; somebody is told while that takes long."""

    @abstractmethod
    def given(self, facts: Mapping[str, Any], paths: Sequence[str], told: Told) -> Any:
        """Other data, for a model that is there; its split is called "given"."""

    @abstractmethod
    def baselines(self, training: D, data: Any, split: str, options: O, brief: bool = False) -> Compared:
        """The same measures of simple methods that learned from the same data.

        Args:
            training: what they learn from.
            data, split: what they are measured on.
            options: of the training.
            brief: whether that is only as much of it as is read at each evaluation.
        """

    def notes(self, data: Any, split: str, options: O, brief: bool = False) -> list[str]:
        """What must be said of any measures on a part of the data.

        Args:
            data, split: the part.
            options: of the training.
            brief: whether that is only as much of it as is read at each evaluation.
        """
        return []

    def standings(self, measures: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]) -> list[Standing]:
        """The model beside the best simple method, by each measure that counts.

        Args:
            measures: the model's.
            baselines: the same of each simple method, as far as it has them.
        """
        return standings(self.compared_by, measures, baselines)

    @abstractmethod
    def report(self, fitted: Fitted, data: D, compared: Compared) -> Iterable[str]:
        """The sections of the report that are the task's own, as HTML.

        Args:
            fitted: the run.
            data: what it was trained on.
            compared: the simple methods on the validation data, as far as they are read at each evaluation.
        """

    def loaded(self, fitted: Any) -> Any:
        """What `holdfast.load` gives for a run; by default the run itself, of the class `fitted`."""
        return fitted

    def splits(self, data: Any) -> list[str]:
        """The parts that a model can be measured on."""
        return [name for name in data.parts if name != "train"]
