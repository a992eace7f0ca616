"""The training loop of a language model against its bare step on a batch in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import check
from benchmarks.measure import in_turns
from benchmarks.report import OTHERS, Column, Table, milliseconds, share, text, times
from benchmarks.settings import Settings
from holdfast.cli.progress import Bar
from holdfast.data import BUILTIN, Corpus, build_corpus
from holdfast.models import LanguageModel, detach
from holdfast.tasks.text import Text, TextOptions
from holdfast.training import Devices, Keeper, Nowhere, Pace, Run, Training
from holdfast.training.optimisers import optimiser

STEPS, BATCH, HIDDEN = 128, 64, 512


def run(settings: Settings) -> Table:
    """At one size, with the defaults of the task."""
    columns = [
        Column("shape", "(T, B, H)", text, 16, names=True),
        Column("loop_ms", "loop ms", milliseconds, compared=True),
        Column("bare_ms", "bare ms", milliseconds),
        Column("throughput", "of bare", times),
        Column("spread", "spread", share, 7),
        OTHERS,
    ]
    title = "a step of `holdfast fit text` with all around it; the share of the bare step's throughput"
    note = "bare: embedding, layer, loss, backward, clipping and optimiser, on one batch in memory"
    table = Table("text", title, columns, note)
    with tempfile.TemporaryDirectory() as folder:
        _measure(table, settings, Path(folder))
    table.require_at_least("text: throughput of the loop, of the bare step's", 0.9, "throughput")
    return table


def _training(corpus: Corpus, options: TextOptions, keeper: Keeper) -> Training:
    """A training as the command makes it."""
    task, place = Text(), Devices(torch.device("cpu"))
    torch.manual_seed(0)
    model = task.build(task.facts(corpus, options), options)
    return Training(task.problem(corpus, options, place), model, options, place, keeper, Bar("tokens", quiet=True))


class _Bare:
    """The step alone."""

    def __init__(self, training: Training, options: TextOptions) -> None:
        assert isinstance(training.model, LanguageModel)
        self.model = training.model.train()
        self.optimiser = optimiser([Pace(self.model.parameters())], options)
        self.inputs, self.targets = training.problem.epoch(0)[0]
        self.state: Any = None
        self.clip = options.clip

    def __call__(self) -> torch.Tensor:
        output = self.model(self.inputs, self.state)
        self.state = detach(output.state)
        loss = self.model.loss(output.features, self.targets).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return loss.detach()


def _measure(table: Table, settings: Settings, folder: Path) -> None:
    corpus = build_corpus((BUILTIN,), level="char", folder=folder)
    options = TextOptions(steps=10**9, batch_size=BATCH, window=STEPS, hidden=HIDDEN)
    keeper = Run.create(folder / "loop", {"options": {}})
    training = _training(corpus, options, keeper)
    bare = _Bare(_training(corpus, options, Nowhere()), options)
    turns = training.turns()
    row = {"shape": f"({STEPS}, {BATCH}, {HIDDEN})"}
    torch.manual_seed(1)
    first = bare()
    torch.manual_seed(1)
    next(turns)
    keeper.flush()
    [line] = keeper.metrics()
    who, off = check.furthest([first], {"loop": [torch.tensor(line["loss"])]})
    if not off <= check.TOLERANCE:
        table.refuse(row, who, off)
        return
    taken = in_turns({"loop": lambda: next(turns), "bare": bare}, max(10.0, settings.seconds))
    ratio = taken.ratio("bare", "loop")
    table.add(
        {
            **row,
            "loop_ms": 1e3 * taken.median("loop"),
            "bare_ms": 1e3 * taken.median("bare"),
            "throughput": ratio.value,
            "spread": ratio.spread,
            "rounds": taken.rounds,
            "others": taken.others,
            "error": off,
        }
    )
    keeper.close()
