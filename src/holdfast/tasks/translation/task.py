"""The task: a text in one language in, the same in another out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from holdfast.data import Told, encoding_from, untold
from holdfast.data.pairs import PairManner, PairReading, Pairs, TextPairs, build_pairs, dates
from holdfast.models import Beam, EncoderDecoder
from holdfast.training import Devices, Run, Watcher

from ..caching import cache
from ..fitting import Fitted, paths_of
from ..fitting import fit as _fit
from ..paired import PairedProblem, learnable, nats_of
from ..task import Compared, Sources, Task
from . import report as _report
from .baselines import baselines
from .measures import scores, signatures
from .options import TranslateOptions
from .run import TranslateRun, Translator

_BRIEF = 500  # validation pairs that are measured at each evaluation


class Translate(Task[TranslateOptions, Pairs]):
    """Text to text."""

    name = "translate"
    summary = "A translator: it reads a text, and writes it in another language or form."
    objective = "nats"
    compared_by: ClassVar = {"bleu": "BLEU"}
    unit = "tokens"
    options = TranslateOptions
    fitted = TranslateRun
    use = "Translate: holdfast translate {run} FILE"
    in_two = True

    def manner(self, options: TranslateOptions) -> PairManner:
        """How files are read."""
        return PairManner(
            reading=PairReading(options.source_column, options.target_column),
            skip_bad=options.skip_bad,
            level=options.level,
            vocabulary=options.vocabulary,
            shared=options.shared,
            share=options.valid_share,
            seed=options.seed,
        )

    def read(self, sources: Sources, options: TranslateOptions, told: Told) -> Pairs:
        """The pairs, kept in the cache folder; without any, dates in many languages."""
        parts = {"train": sources.data or (dates.NAME,), "valid": sources.valid, "test": sources.test}
        return build_pairs(parts, self.manner(options), cache(self.name), told=told)

    def describe(self, data: Pairs) -> dict[str, Any]:
        """How many pairs there are, how long they are, and of how many different tokens."""
        about: dict[str, Any] = {"digest": data.digest}
        for name, part in data.parts.items():
            about[f"{name} pairs"] = len(part)
        ours, theirs = next(iter(data.parts.values())).lengths
        for side, lengths in (("source", ours), ("target", theirs)):
            about[f"tokens of a {side}, median and most"] = f"{np.median(lengths):g}, {lengths.max():,}"
        about["a token is"] = data.encodings[0].level
        sizes = [one.size for one in data.encodings]
        about["vocabulary"] = f"{sizes[0]:,}, of both" if data.shared else f"{sizes[0]:,} and {sizes[1]:,}"
        return about

    def facts(self, data: Pairs, options: TranslateOptions) -> dict[str, Any]:
        """The vocabularies, how files are read, and the longest source and target that are learned from."""
        train = data.parts["train"]
        which = learnable(train, options.longest)
        return {
            "encodings": [one.to_dict() for one in data.encodings[: 1 if data.shared else 2]],
            "manner": asdict(self.manner(options)),
            "longest": [int(lengths[which].max(initial=1)) for lengths in train.lengths],
        }

    def build(self, facts: Mapping[str, Any], options: TranslateOptions) -> nn.Module:
        """A fresh model."""
        sizes = [encoding_from(each).size for each in facts["encodings"]]
        return EncoderDecoder(sources=sizes[0], targets=sizes[1] if len(sizes) > 1 else 0, **options.model())

    def problem(self, data: Pairs, options: TranslateOptions, place: Devices) -> PairedProblem:
        """What the loop trains."""
        facts = self.facts(data, options)

        def measured(model: nn.Module) -> dict[str, float]:
            part = first(data.parts["valid"], _BRIEF)
            return self._measures(model, facts, data, part, options, Beam(1), untold)

        return PairedProblem(self.objective, data, options, place, measured)

    def evaluate(
        self,
        model: nn.Module,
        facts: Mapping[str, Any],
        data: Pairs,
        split: str,
        options: TranslateOptions,
        told: Told,
    ) -> dict[str, float]:
        """How far translations by a beam are from those that were wanted, and the loss."""
        return self._measures(model, facts, data, data.parts[split], options, Beam(), told)

    def _measures(
        self,
        model: nn.Module,
        facts: Mapping[str, Any],
        data: Pairs,
        part: TextPairs,
        options: TranslateOptions,
        beam: Beam,
        told: Told,
    ) -> dict[str, float]:
        assert isinstance(model, EncoderDecoder)
        which = learnable(part, options.longest)
        tokens = int((part.lengths[1][which] + 1).sum())
        nats = float(nats_of(model, part, which, told).sum()) / tokens if len(which) else float("nan")
        told("translating")
        translator = Translator(model, *data.encodings, facts["longest"])
        found = translator.translate([part.source_text(k) for k in range(len(part))], beam)
        wanted = [part.target_text(k) for k in range(len(part))]
        return {"nats": nats, **scores(wanted, [one.text for one in found])}

    def given(self, facts: Mapping[str, Any], paths: Sequence[str], told: Told) -> Pairs:
        """Other pairs, in the vocabularies that were learned."""
        held = facts["manner"]
        manner = PairManner(**{**held, "reading": PairReading(**held["reading"])})
        encodings = [encoding_from(each) for each in facts["encodings"]]
        return build_pairs({"given": paths}, manner, cache(self.name), (encodings[0], encodings[-1]), told)

    def baselines(
        self, training: Pairs, data: Pairs, split: str, options: TranslateOptions, brief: bool = False
    ) -> Compared:
        """Simple methods that learned from the same pairs."""
        part = first(data.parts[split], _BRIEF) if brief else data.parts[split]
        return Compared(baselines(training.parts["train"], part))

    def notes(self, data: Pairs, split: str, options: TranslateOptions, brief: bool = False) -> list[str]:
        """How it was measured, and what was left out."""
        how = f"the likeliest token each time, the first {_BRIEF:,} pairs" if brief else f"a beam of {Beam().width}"
        notes = [f"{signatures()}; {how}.", *data.notes]
        for name in dict.fromkeys([split, *(["train"] if "train" in data.parts else [])]):
            count = len(data.parts[name])
            long = count - len(learnable(data.parts[name], options.longest))
            if long:
                said = "not learned from" if name == "train" else "left out of the nats, and translated in parts"
                notes.append(
                    f"{long:,} of {count:,} pairs of the part {name} have more than {options.longest:,} tokens on a "
                    f"side and were {said} (--longest)."
                )
        return notes

    def report(self, fitted: Fitted, data: Pairs, compared: Compared) -> Iterable[str]:
        """What it makes of validation pairs, and what it looks at."""
        assert isinstance(fitted, TranslateRun)
        return _report.sections(fitted, data)


def first(part: TextPairs, count: int) -> TextPairs:
    """The first pairs of a part."""
    return replace(part, which=part.which[:count])


def fit(
    data: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    valid: str | Path | Sequence[str | Path] = (),
    test: str | Path | Sequence[str | Path] = (),
    watcher: Watcher | None = None,
    **options: Any,
) -> TranslateRun:
    """Train a translator into a folder.

    Args:
        data: tables of pairs, or files of lines that go together, the sources first; none: dates in many languages.
        out: the run's folder, which is made.
        valid: what the best model is chosen by, likewise; none: a tenth of the data.
        test: what `evaluate` reads at the end, likewise.
        watcher: who is told what happens.
        options: those of `TranslateOptions`, by name.
    """
    folder = Path(out).expanduser()
    _fit(Translate(), Sources(paths_of(data), paths_of(valid), paths_of(test)), folder, options, watcher)
    return TranslateRun(Translate(), Run.open(folder))
