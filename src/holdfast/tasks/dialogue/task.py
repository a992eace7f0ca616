"""The task: what was said before in, a reply out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from holdfast.data import DataError, Told, encoding_from, untold
from holdfast.data.pairs import DialogueReading, PairManner, Pairs, TextPairs, build_pairs
from holdfast.models import EncoderDecoder
from holdfast.training import Devices, OptionError, Run, Watcher

from ..caching import cache
from ..fitting import Fitted, paths_of
from ..fitting import fit as _fit
from ..paired import PairedProblem, learnable, nats_of
from ..task import Compared, Sources, Task
from . import report as _report
from .baselines import counted, retrieved
from .measures import reply_measures
from .options import ChatOptions
from .run import ChatRun, Manners, replies

Array = np.ndarray[Any, Any]

_BRIEF = 1000  # validation replies that are measured at each evaluation, spread over all
_DRAWN = 100  # and to the contexts of so many of them replies are drawn, which takes far longer


class Chat(Task[ChatOptions, Pairs]):
    """Dialogues to replies."""

    name = "chat"
    summary = (
        "A model of dialogue: it reads the last turns of a conversation, and writes what somebody in its training "
        "data might have replied. It knows nothing of the world, keeps no facts, does not mean what it says, and "
        "repeats the manners and the prejudices of its data: it is for study and play, not for advice."
    )
    objective = "nats"
    compared_by: ClassVar = {"perplexity": "perplexity"}
    headline = ("nats", "perplexity", "bleu")
    unit = "tokens"
    options = ChatOptions
    fitted = ChatRun
    use = "Talk with it: holdfast chat {run}"

    def manner(self, options: ChatOptions) -> PairManner:
        """How files are read."""
        return PairManner(
            reading=DialogueReading(options.context),
            skip_bad=options.skip_bad,
            level="bpe",
            vocabulary=options.vocabulary,
            share=options.valid_share,
            seed=options.seed,
        )

    def read(self, sources: Sources, options: ChatOptions, told: Told) -> Pairs:
        """The dialogues, kept in the cache folder.

        Raises:
            OptionError: there are none.
        """
        if not sources.data:
            raise OptionError("name files of dialogues: JSON lines, text or .zip; there are none to begin with")
        parts = {"train": sources.data, "valid": sources.valid, "test": sources.test}
        return build_pairs(parts, self.manner(options), cache(self.name), told=told)

    def describe(self, data: Pairs) -> dict[str, Any]:
        """How many turns there are, how many are replies, and how long they are."""
        about: dict[str, Any] = {"digest": data.digest}
        for name, part in data.parts.items():
            about[f"{name} turns, replies"] = f"{len(part):,}, {len(_answers(part)):,}"
        ours, theirs = next(iter(data.parts.values())).lengths
        for side, lengths in (("context", ours), ("reply", theirs)):
            about[f"tokens of a {side}, median and most"] = f"{np.median(lengths):g}, {lengths.max():,}"
        return {**about, "vocabulary, byte pairs": data.encodings[0].size}

    def facts(self, data: Pairs, options: ChatOptions) -> dict[str, Any]:
        """The vocabulary, and how files are read."""
        return {"encoding": data.encodings[0].to_dict(), "manner": asdict(self.manner(options))}

    def build(self, facts: Mapping[str, Any], options: ChatOptions) -> nn.Module:
        """A fresh model."""
        return EncoderDecoder(sources=encoding_from(facts["encoding"]).size, **options.model())

    def problem(self, data: Pairs, options: ChatOptions, place: Devices) -> PairedProblem:
        """What the loop trains."""
        _measured(data.parts["valid"], options)

        def measured(model: nn.Module) -> dict[str, float]:
            return self._measures(model, data, "valid", options, True, untold)

        return PairedProblem(self.objective, data, options, place, measured)

    def evaluate(
        self, model: nn.Module, facts: Mapping[str, Any], data: Pairs, split: str, options: ChatOptions, told: Told
    ) -> dict[str, float]:
        """How likely what people replied is, and how varied and how near to it what the model replies."""
        return self._measures(model, data, split, options, False, told)

    def _measures(
        self, model: nn.Module, data: Pairs, split: str, options: ChatOptions, brief: bool, told: Told
    ) -> dict[str, float]:
        assert isinstance(model, EncoderDecoder)
        part = data.parts[split]
        which = _measured(part, options, brief)
        nats = float(nats_of(model, part, which, told).sum())
        tokens = int((part.lengths[1][which] + 1).sum())
        told("replying")
        answered = _spread(which, _DRAWN) if brief else which
        sources = [part.source_text(int(k)) for k in answered]
        found = replies(model, data.encodings[1], sources, Manners(), 0, options.longest)
        return {
            "nats": nats / tokens,
            "perplexity": math.exp(min(nats / _words(part, which), 700.0)),
            **reply_measures([part.target_text(int(k)) for k in answered], found),
        }

    def given(self, facts: Mapping[str, Any], paths: Sequence[str], told: Told) -> Pairs:
        """Other dialogues, in the vocabulary that was learned."""
        held = facts["manner"]
        manner = PairManner(**{**held, "reading": DialogueReading(**held["reading"])})
        encoding = encoding_from(facts["encoding"])
        return build_pairs({"given": paths}, manner, cache(self.name), (encoding, encoding), told)

    def baselines(
        self, training: Pairs, data: Pairs, split: str, options: ChatOptions, brief: bool = False
    ) -> Compared:
        """Simple methods that learned from the same dialogues."""
        train, part = training.parts["train"], data.parts[split]
        which = _measured(part, options, brief)
        ngram = counted(train, part, which, training.encodings[1], _words(part, which))
        looked_up = retrieved(train, part, _spread(which, _DRAWN) if brief else which)
        return Compared({"n-grams": ngram, "the reply to the most alike context": looked_up})

    def notes(self, data: Pairs, split: str, options: ChatOptions, brief: bool = False) -> list[str]:
        """How it was measured, and what was left out."""
        part = data.parts[split]
        notes = [
            "The perplexity is that of a word between blanks of a reply, its end counting as one: byte pairs know no "
            "unknown words. The first turn of a dialogue is no reply and is not measured.",
            *data.notes,
        ]
        if brief:
            which = _measured(part, options, brief)
            notes.append(
                f"Measured on {len(which):,} replies, spread over all of the part; replies were drawn to the contexts "
                f"of {len(_spread(which, _DRAWN)):,} of them."
            )
        long = len(_answers(part)) - len(_measured(part, options))
        if long:
            notes.append(
                f"{long:,} replies or contexts of more than {options.longest:,} tokens were left out (--longest)."
            )
        return notes

    def report(self, fitted: Fitted, data: Pairs, compared: Compared) -> Iterable[str]:
        """What it replies, and what it looks at."""
        assert isinstance(fitted, ChatRun)
        return _report.sections(fitted, data.parts["valid"], _measured(data.parts["valid"], fitted.options))


def _answers(part: TextPairs) -> Array:
    """The turns before which something was said, (S,)."""
    return np.array([k for k in range(len(part)) if part.source_text(k)], np.int64)


def _measured(part: TextPairs, options: ChatOptions, brief: bool = False) -> Array:
    """Those of them that are not too long; some that are spread over all, if it is to be brief."""
    found = np.intersect1d(_answers(part), learnable(part, options.longest))
    if not len(found):
        raise DataError(f"there is no reply to measure by: in all more than {options.longest:,} tokens are on a side")
    return _spread(found, _BRIEF) if brief else found


def _spread(which: Array, count: int) -> Array:
    """So many of some, spread over all; all, if there are no more."""
    return which[np.linspace(0, len(which) - 1, count).astype(np.int64)] if len(which) > count else which


def _words(part: TextPairs, which: Array) -> int:
    """How many words between blanks some replies have, with an end of each."""
    return sum(len(part.target_text(int(k)).split()) + 1 for k in which)


def fit(
    data: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    valid: str | Path | Sequence[str | Path] = (),
    test: str | Path | Sequence[str | Path] = (),
    watcher: Watcher | None = None,
    **options: Any,
) -> ChatRun:
    """Train a model of dialogue into a folder.

    Args:
        data: files of dialogues.
        out: the run's folder, which is made.
        valid: what the best model is chosen by, likewise; none: a tenth of the data.
        test: what `evaluate` reads at the end, likewise.
        watcher: who is told what happens.
        options: those of `ChatOptions`, by name.
    """
    folder = Path(out).expanduser()
    _fit(Chat(), Sources(paths_of(data), paths_of(valid), paths_of(test)), folder, options, watcher)
    return ChatRun(Chat(), Run.open(folder))
