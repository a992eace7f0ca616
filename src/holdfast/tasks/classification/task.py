"""The tasks: sequences in, a class or a number out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.data import (
    DataError,
    Encoding,
    Kind,
    Labelled,
    Manner,
    Reading,
    Sequences,
    Told,
    build_labelled,
    encoding_from,
    examples,
    recordings,
)
from holdfast.models import SequenceModel
from holdfast.training import Devices, Loss, OptionError, Pace, Watcher

from ..caching import cache
from ..fitting import Fitted
from ..task import Compared, Sources, Task
from . import report as _report
from .baselines import baselines
from .batches import Batch, Epoch
from .measures import of_classes, of_numbers
from .options import ClassifyOptions, RegressOptions, SequenceOptions
from .pretraining import Language, learned
from .reading import said_of

Array = np.ndarray[Any, Any]

_FRESH = 1500, 5  # steps and epochs of a training that is given no number: the epochs, or more to make so many steps
_ABOVE = 500, 4  # the same above a language model, from which a training goes astray sooner
_THAWED = 0.1  # share of the steps after which all layers learn
_UNKNOWN = 0.1  # share of the tokens that are made unknown, if the model begins with nothing learned
_HOTTEST = 20.0  # what outputs are divided by at most before they become probabilities


@dataclass(frozen=True)
class Material:
    """What a training begins with.

    Attributes:
        labelled: the sequences.
        language: the language model that it starts from, if there is one.
    """

    labelled: Labelled
    language: Language | None = None


class SequenceRun(Fitted):
    """A model that was trained on sequences."""

    model: SequenceModel
    options: SequenceOptions
    task: SequenceTask

    @property
    def encoding(self) -> Encoding | None:
        """What turns texts into tokens; None for series."""
        found = self.facts["encoding"]
        return encoding_from(found) if found else None


class SequenceTask(Task[SequenceOptions, Material]):
    """What both have in common."""

    unit = "time steps"
    fitted = SequenceRun
    numeric: ClassVar[bool]

    def manner(self, options: SequenceOptions) -> Manner:
        """How files are read."""
        return Manner(
            Reading(
                options.text,
                options.label,
                options.series,
                options.channels,
                numeric=self.numeric,
                audio=options.audio,
            ),
            options.skip_bad,
            options.level,
            options.vocabulary if options.level in ("prose", "word", "bpe") else 0,
            options.valid_share,
            options.seed,
        )

    def prepare(self, sources: Sources, options: SequenceOptions, place: Devices, watcher: Watcher) -> Sources:
        """Learn the language model that the training starts from, or take one that is there."""
        if options.pretrain and sources.data:
            self._refuse_series(sources, options)
        return learned(sources, options, place, watcher)

    def _refuse_series(self, sources: Sources, options: SequenceOptions) -> None:
        """Say that series and recordings do not begin with a language model before one is learned."""
        reading = self.manner(options).reading
        if heard := recordings({"train": sources.data}, reading, skip=True)["train"]:
            raise OptionError(f"pretrain is for texts; {heard[0]} is a recording")
        first = next(examples(sources.data, reading), None)
        if first and first.content is not None and (fault := Kind(channels=0).fault_of(first.content)):
            raise OptionError(f"pretrain is for texts; {first.where} is {fault}")

    def read(self, sources: Sources, options: SequenceOptions, told: Told) -> Material:
        """The sequences, kept in the cache folder."""
        if not sources.data:
            raise DataError("name at least one file of labelled texts, series or recordings to learn from")
        language = Language.of(sources.start[0]) if sources.start else None
        parts = {"train": sources.data, "valid": sources.valid, "test": sources.test}
        encoding = encoding_from(language.facts["encoding"]) if language else None
        kind = Kind(channels=0) if language else None
        kept = cache(self.name)
        return Material(build_labelled(parts, self.manner(options), kept, encoding, kind=kind, told=told), language)

    def settle(self, data: Material, options: SequenceOptions, place: Devices) -> SequenceOptions:
        """How many passes there are at most, and how many tokens are made unknown."""
        if options.word_dropout < 0:
            options = replace(options, word_dropout=0.0 if data.language else _UNKNOWN)
        if options.epochs or options.steps:
            return options
        together = options.batch_size * place.size * options.accumulate
        batches = max(1, len(data.labelled.parts["train"]) // together)
        steps, epochs = _ABOVE if data.language else _FRESH
        return replace(options, epochs=max(epochs, -(-steps // batches)))

    def describe(self, data: Material) -> dict[str, Any]:
        """How many sequences there are, of which classes, and how long they are."""
        labelled = data.labelled
        about: dict[str, Any] = {"digest": labelled.digest}
        for name, part in labelled.parts.items():
            about[f"{name} sequences"] = len(part)
        lengths = next(iter(labelled.parts.values())).lengths
        shortest, middle, most = lengths.min(), int(np.median(lengths)), lengths.max()
        about["steps of the shortest, the median and the longest"] = f"{shortest:,}, {middle:,}, {most:,}"
        if labelled.classes:
            about["classes"] = ", ".join(labelled.classes)
        if labelled.mel is not None:
            about["samples per second"] = f"{labelled.mel.rate:,}"
        if labelled.encoding is None:
            return {**about, "channels": labelled.channels}
        return {**about, "level": labelled.encoding.level, "vocabulary": labelled.encoding.size}

    def facts(self, data: Material, options: SequenceOptions) -> dict[str, Any]:
        """The encoding, the classes, the scale of the channels and of what is said, the layers that are taken over."""
        labelled, manner = data.labelled, self.manner(options)
        train = labelled.parts["train"]
        return {
            "encoding": labelled.encoding and labelled.encoding.to_dict(),
            "classes": list(labelled.classes),
            "channels": labelled.channels,
            "scale": _channel_scale(train, labelled.parts.values()) if labelled.encoding is None else None,
            "said": _said_scale(train) if self.numeric else None,
            "reading": asdict(replace(manner, reading=replace(manner.reading, mel=labelled.mel))),
            "language": data.language and data.language.arguments,
        }

    def build(self, facts: Mapping[str, Any], options: SequenceOptions) -> nn.Module:
        """A fresh model."""
        text = bool(facts["encoding"])
        language = facts["language"] or {}
        model = SequenceModel(
            outputs=len(facts["classes"]) or 1,
            vocabulary=encoding_from(facts["encoding"]).size if text else 0,
            channels=facts["channels"],
            gaps=bool(facts["scale"] and facts["scale"]["gaps"]),
            cell=options.cell,
            embedding=language.get("embedding", options.embedding),
            hidden=options.hidden,
            layers=options.layers,
            bidirectional=options.bidirectional,
            below=language.get("widths", ()),
            below_cell=language.get("cell", options.cell),
            pooling=options.pooling,
            dropout=options.dropout,
            input_dropout=options.input_dropout,
            word_dropout=options.word_dropout if text else 0.0,
            noise=options.noise,
            weight_drop=options.weight_drop,
        )
        if facts["scale"]:
            model.means.copy_(torch.tensor(facts["scale"]["means"]))
            model.deviations.copy_(torch.tensor(facts["scale"]["deviations"]))
        return model

    def start(self, model: nn.Module, data: Material) -> None:
        """Begin with the layers of the language model."""
        if data.language is not None:
            assert isinstance(model, SequenceModel)
            model.take_over(data.language.model())

    def problem(self, data: Material, options: SequenceOptions, place: Devices) -> _Problem:
        """What the loop trains."""
        return _Problem(self, data, options, place)

    @abstractmethod
    def loss(self, said: Tensor, truth: Tensor, weights: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """The mean loss of what a model says, (B, K); weights are of the classes, (K,)."""

    def shown(self, loss: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """The loss in the unit of the objective, beside which it is drawn."""
        return loss

    @abstractmethod
    def judged(self, model: SequenceModel, said: Tensor, truth: Array, facts: Mapping[str, Any]) -> dict[str, float]:
        """The measures of what a model says, (N, K)."""

    @abstractmethod
    def calibrate(self, model: SequenceModel, said: Tensor, truth: Array) -> None:
        """Set what turns what a model says into probabilities."""

    def evaluate(
        self,
        model: nn.Module,
        facts: Mapping[str, Any],
        data: Material,
        split: str,
        options: SequenceOptions,
        told: Told,
    ) -> dict[str, float]:
        """The measures on a part."""
        assert isinstance(model, SequenceModel)
        part = data.labelled.parts[split]
        return self.judged(model, said_of(model, part, options.longest, told), part.said, facts)

    def given(self, facts: Mapping[str, Any], paths: Sequence[str], told: Told) -> Material:
        """Other labelled sequences, of the classes that were learned."""
        known = facts["reading"]
        manner = Manner(**{**known, "reading": Reading.from_dict(known["reading"])})
        encoding = encoding_from(facts["encoding"]) if facts["encoding"] else None
        parts = {"given": paths}
        kept = cache(self.name)
        return Material(build_labelled(parts, manner, kept, encoding, facts["classes"], kind_of(facts), told))

    def baselines(
        self, training: Material, data: Material, split: str, options: SequenceOptions, brief: bool = False
    ) -> Compared:
        """Simple methods that learned from the same sequences."""
        return baselines(training.labelled, data.labelled.parts[split])

    def notes(self, data: Material, split: str, options: SequenceOptions, brief: bool = False) -> list[str]:
        """What was left out and cut."""
        notes = [*data.labelled.notes]
        lengths = data.labelled.parts[split].lengths
        cut = int((lengths > options.longest).sum())
        if cut:
            notes.append(
                f"{cut:,} of {len(lengths):,} sequences have more than {options.longest:,} steps: their first and last "
                "halves are read (--longest)."
            )
        return notes

    def report(self, fitted: Fitted, data: Material, compared: Compared) -> Iterable[str]:
        """Where it errs, how far its confidence can be trusted, what it looks at."""
        return _report.sections(self, fitted, data, compared)

    def splits(self, data: Material) -> list[str]:
        """The parts that a model can be measured on."""
        return [name for name in data.labelled.parts if name != "train"]


class Classify(SequenceTask):
    """Classes."""

    name = "classify"
    summary = "A classifier: it reads whole sequences, texts or series, and says of which class each is."
    objective = "nats"
    headline = ("accuracy", "f1", "nats")
    options = ClassifyOptions
    numeric = False
    use = "Classify with it: holdfast classify {run} FILE --out predictions.csv"

    def loaded(self, fitted: Any) -> Any:
        """A `SequenceClassifier`."""
        from .estimator import SequenceClassifier  # which is made of this task

        return SequenceClassifier.of(fitted)

    def loss(self, said: Tensor, truth: Tensor, weights: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """Minus the logarithm of the true class' probability."""
        return F.cross_entropy(said, truth.long(), weights)

    def judged(self, model: SequenceModel, said: Tensor, truth: Array, facts: Mapping[str, Any]) -> dict[str, float]:
        """See `of_classes`."""
        return of_classes(model.probabilities(said).double().numpy(), truth.astype(np.int64))

    def calibrate(self, model: SequenceModel, said: Tensor, truth: Array) -> None:
        """Set the model's temperature to that by which its probabilities fit best (Guo 2017).

        They fit as if there were one more example, of which nothing is known: few that are all right make nobody sure.
        """
        classes = torch.from_numpy(truth.astype(np.int64))
        doubt = 1 / (len(classes) + 1)

        def nats(logarithm: float) -> float:
            return F.cross_entropy(said.double() / np.exp(logarithm), classes, label_smoothing=doubt).item()

        model.temperature.fill_(float(np.exp(_lowest(nats, -np.log(_HOTTEST), np.log(_HOTTEST)))))


class Regress(SequenceTask):
    """Numbers."""

    name = "regress"
    summary = "A regressor: it reads whole sequences, texts or series, and says a number of each."
    objective = "rmse"
    compared_by: ClassVar = {"rmse": "root mean square error"}
    options = RegressOptions
    numeric = True
    use = "Predict with it: holdfast regress {run} FILE --out predictions.csv"

    def loaded(self, fitted: Any) -> Any:
        """A `SequenceRegressor`."""
        from .estimator import SequenceRegressor  # which is made of this task

        return SequenceRegressor.of(fitted)

    def loss(self, said: Tensor, truth: Tensor, weights: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """The mean square of the error, in units of the deviation."""
        mean, deviation = facts["said"]
        return F.mse_loss(said[:, 0], ((truth - mean) / deviation).to(said.dtype))

    def shown(self, loss: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """The root of that, in units of what is said."""
        return loss.sqrt() * facts["said"][1]

    def judged(self, model: SequenceModel, said: Tensor, truth: Array, facts: Mapping[str, Any]) -> dict[str, float]:
        """See `of_numbers`."""
        mean, deviation = facts["said"]
        return of_numbers(said[:, 0].double().numpy() * deviation + mean, truth)

    def calibrate(self, model: SequenceModel, said: Tensor, truth: Array) -> None:
        """Nothing: numbers have no probabilities."""


class _Problem:
    """The training, as the loop sees it."""

    def __init__(self, task: SequenceTask, data: Material, options: SequenceOptions, place: Devices) -> None:
        self.task, self.options, self.place = task, options, place
        self.objective = task.objective
        self.facts = task.facts(data, options)
        self.train, self.valid = (data.labelled.parts[name] for name in ("train", "valid"))
        self.taken_over = data.language is not None
        self.weights = torch.ones(max(1, len(data.labelled.classes)), device=place.device)
        if isinstance(options, ClassifyOptions) and options.class_weights == "balanced":
            counts = np.bincount(self.train.said.astype(np.int64), minlength=len(data.labelled.classes))
            self.weights = torch.tensor(
                len(self.train) / len(counts) / counts, dtype=torch.float32, device=place.device
            )

    def epoch(self, number: int) -> Sequence[Batch]:
        """All sequences once, in an order of this epoch."""
        options, place = self.options, self.place
        seed = options.seed * 1_000_003 + number
        return Epoch(self.train, options.batch_size, options.longest, seed, place.rank, place.size)

    def paces(self, model: nn.Module) -> list[Pace]:
        """What is new learns at once; what was taken over joins layer by layer, the lowest last.

        So it is not shaken by the first gradients of layers that know nothing yet (Howard and Ruder 2018).
        """
        assert isinstance(model, SequenceModel)
        if not self.taken_over:
            return [Pace(model.parameters())]
        assert model.embedding is not None
        old = [model.embedding, *model.below]
        news = [model.layers, model.pooling, model.output]
        steps = _THAWED / len(old)
        return [Pace([p for module in news for p in module.parameters()])] + [
            Pace(module.parameters(), begins=steps * k) for k, module in enumerate(reversed(old), 1)
        ]

    def carry(self) -> Sequence[Tensor]:
        """Nothing: each sequence begins anew."""
        return ()

    def loss(self, model: nn.Module, batch: Batch, carry: Sequence[Tensor]) -> Loss:
        """The mean loss of a batch."""
        assert isinstance(model, SequenceModel)
        x, lengths, truth = (t.to(self.place.device) for t in batch)
        inputs = model.inputs(model.disturbed(x))

        def of(inputs: Tensor) -> Tensor:
            return self.task.loss(model.from_inputs(inputs, lengths), truth, self.weights, self.facts)

        plain = value = of(inputs)
        if self.options.adversarial and model.vocabulary:
            value = (plain + of(inputs + astray(plain, inputs, lengths, self.options.adversarial))) / 2
        return Loss(value, self.task.shown(plain, self.facts), ())

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The measures on the validation data, after the probabilities were calibrated on them."""
        assert isinstance(model, SequenceModel)
        said = said_of(model, self.valid, self.options.longest)
        self.task.calibrate(model, said, self.valid.said)
        return self.task.judged(model, said, self.valid.said, self.facts)


def astray(loss: Tensor, inputs: Tensor, lengths: Tensor, share: float) -> Tensor:
    """What raises the loss of each text most when it is added to what its tokens have become (Miyato 2017), (T, B, E).

    Args:
        loss: of the inputs.
        inputs: (T, B, E).
        lengths: (B,).
        share: how large it is, of the size of a text's inputs.
    """
    (slope,) = torch.autograd.grad(loss, inputs, retain_graph=True)
    there = torch.arange(len(inputs), device=lengths.device)[:, None] < lengths  # (T, B)
    size = (inputs.detach() * there[..., None]).norm(dim=(0, 2))  # (B,)
    steep = slope.norm(dim=(0, 2)).clamp(min=torch.finfo(slope.dtype).tiny)
    return slope * (share * size / steep)[:, None]


def kind_of(facts: Mapping[str, Any]) -> Kind:
    """The sequences that a run's model reads."""
    return Kind(facts["channels"], bool(facts["scale"] and facts["scale"]["gaps"]))


def _channel_scale(train: Sequences, parts: Iterable[Sequences]) -> dict[str, Any]:
    """Mean and deviation of each channel over what is learned from, and whether values are missing in any part.

    Raises:
        DataError: there is not one value.
    """
    count: Any = 0
    total: Any = 0.0
    squares: Any = 0.0
    gaps = any(np.isnan(part.of(k)).any() for part in parts for k in range(len(part)))
    for k in range(len(train)):
        values = train.of(k).astype(np.float64)
        known = ~np.isnan(values)
        count = count + known.sum(0)
        total = total + np.nansum(values, 0)
        squares = squares + np.nansum(values**2, 0)
    if not np.any(count):
        raise DataError("the series to learn from have not one known value: all are missing")
    count = np.maximum(count, 1)
    means = total / count
    deviations = np.sqrt(np.maximum(squares / count - means**2, 0))
    deviations[deviations <= 1e-6 * (np.abs(means) + 1e-30)] = 1.0  # a channel that does not change
    return {"means": means.tolist(), "deviations": deviations.tolist(), "gaps": gaps}


def _said_scale(train: Sequences) -> list[float]:
    """Mean and deviation of the numbers that are learned."""
    return [float(train.said.mean()), float(train.said.std()) or 1.0]


def _lowest(function: Any, low: float, high: float) -> float:
    """Where a function with one valley is lowest, by golden sections."""
    share = (np.sqrt(5) - 1) / 2
    a, b = high - share * (high - low), low + share * (high - low)
    at_a, at_b = function(a), function(b)
    for _ in range(40):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - share * (high - low)
            at_a = function(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + share * (high - low)
            at_b = function(b)
    return float((low + high) / 2)
