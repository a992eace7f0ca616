"""The second part of `holdfast demo`: a character model learns to write from the documentation every Python carries."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from holdfast.data import BUILTIN, Corpus, build_corpus
from holdfast.models import LanguageModel, Sampling, write
from holdfast.tasks.text import Text, TextOptions
from holdfast.training import Devices, Nowhere, Position, Quiet, Training

EVALUATIONS = 6
SAMPLE = 320  # characters
TEMPERATURE = 0.7

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Writing:
    """What became of the character model.

    Attributes:
        before: what it wrote before training.
        after: what it wrote at the end.
        curve: steps made, and the validation loss in nats a character.
        baselines: of n-gram models of the same text, on the same validation part.
        parameters: how many numbers it learned.
        characters: how many characters it was trained on, counted once.
        seconds: how long that took.
        options: how it was trained.
    """

    before: str
    after: str
    curve: list[tuple[int, float]]
    baselines: Mapping[str, Mapping[str, float]]
    parameters: int
    characters: int
    seconds: float
    options: TextOptions


class _Watcher(Quiet):
    """Keeps the curve, and passes the steps on."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.curve: list[tuple[int, float]] = []
        self.last = math.nan

    def step(self, position: Position, loss: float, units: int, seconds: float) -> None:
        """A step has been made."""
        if self.progress is not None:
            self.progress(position.step, self.last)

    def evaluated(self, position: Position, measures: Mapping[str, float], better: bool) -> None:
        """The model has been evaluated."""
        self.last = measures["nats"]
        self.curve.append((position.step, self.last))


def learn_to_write(seed: int, steps: int, progress: Progress | None = None) -> Writing:
    """Train a character model on Python's documentation.

    >>> learn_to_write(seed=0, steps=1).curve[0][0]
    1

    Args:
        seed: of everything random.
        steps: of training.
        progress: called after each step with the number of steps done and the loss last measured.
    """
    options = TextOptions(
        steps=steps,
        seed=seed,
        hidden=256,
        embedding=32,
        window=64,
        dropout=0.2,
        weight_drop=0.1,
        evaluations=EVALUATIONS,
    )
    with tempfile.TemporaryDirectory() as folder:
        corpus = build_corpus((BUILTIN,), level="char", folder=Path(folder))
        return _learn(corpus, options, progress)


def _learn(corpus: Corpus, options: TextOptions, progress: Progress | None) -> Writing:
    task, watcher = Text(), _Watcher(progress)
    place = Devices(torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = task.build(task.facts(corpus, options), options)
        assert isinstance(model, LanguageModel)
        before = _sample(model, corpus, options.seed)
        start = time.perf_counter()
        training = Training(task.problem(corpus, options, place), model, options, place, Nowhere(), watcher)
        training.run()
        seconds = time.perf_counter() - start
    assert training.average is not None
    learned = training.average.module
    assert isinstance(learned, LanguageModel)
    baselines = task.baselines(corpus, corpus, "valid", options).measures
    return Writing(
        before,
        _sample(learned, corpus, options.seed),
        watcher.curve,
        baselines,
        sum(p.numel() for p in model.parameters()),
        corpus.train.characters,
        seconds,
        options,
    )


def _sample(model: LanguageModel, corpus: Corpus, seed: int) -> str:
    sampling = Sampling(temperature=TEMPERATURE)
    pieces = write(model, corpus.encoding, "\n", length=SAMPLE, sampling=sampling, seed=seed)
    return "".join(piece for (piece,) in pieces)
