"""The task: the sound of speech in, what is said out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.data import DataError, Told, untold
from holdfast.data.audio import Mel, Recordings, Speech, SpeechManner, build_speech, keypad, masked
from holdfast.models import STRIDE, Transcriber, halved
from holdfast.training import Devices, Loss, Run, Watcher

from ..caching import cache
from ..fitting import Fitted, paths_of
from ..fitting import fit as _fit
from ..task import Compared, Sources, Task
from . import report as _report
from .baselines import baselines
from .batches import Batch, Epoch, numbers_of
from .measures import error_rates
from .options import TranscribeOptions
from .reading import logs_of, written_of
from .run import TranscribeRun

Array = np.ndarray[Any, Any]

_SCALED_BY = 200  # recordings, of whose frames the scale is


class Transcribe(Task[TranscribeOptions, Speech]):
    """Speech to text."""

    name = "transcribe"
    summary = "A transcriber: it reads the sound of speech, and writes down what is said."
    objective = "cer"
    compared_by: ClassVar = {"cer": "character error rate"}
    curve = "nats"
    unit = "frames"
    options = TranscribeOptions
    fitted = TranscribeRun
    use = "Write down what is said: holdfast transcribe {run} FILE"

    def manner(self, options: TranscribeOptions) -> SpeechManner:
        """How manifests are read."""
        return SpeechManner(
            audio=options.audio,
            text=options.text,
            case=options.case,
            rate=options.rate,
            skip_bad=options.skip_bad,
            share=options.valid_share,
            seed=options.seed,
        )

    def read(self, sources: Sources, options: TranscribeOptions, told: Told) -> Speech:
        """The recordings, kept in the cache folder; without any, tones of a telephone's keys."""
        data = sources.data or (keypad.NAME,)
        parts = {"train": data, "valid": sources.valid, "test": sources.test}
        return build_speech(parts, self.manner(options), cache(self.name), told=told)

    def settle(self, data: Speech, options: TranscribeOptions, place: Devices) -> TranscribeOptions:
        """The rate."""
        return replace(options, rate=data.rate)

    def describe(self, data: Speech) -> dict[str, Any]:
        """How many recordings there are, how long they are, and of which symbols."""
        about: dict[str, Any] = {"digest": data.digest}
        for name, part in data.parts.items():
            seconds = part.lengths.sum() / data.rate
            about[f"{name} recordings"] = len(part)
            about[f"{name} minutes"] = f"{seconds / 60:.1f}"
        lengths = next(iter(data.parts.values())).lengths / data.rate
        about["seconds of the shortest, the median and the longest"] = (
            f"{lengths.min():.2f}, {np.median(lengths):.2f}, {lengths.max():.2f}"
        )
        return {**about, "samples a second": data.rate, "symbols": "".join(data.symbols)}

    def facts(self, data: Speech, options: TranscribeOptions) -> dict[str, Any]:
        """The symbols, how sound becomes frames, and the scale of these."""
        mel = Mel(rate=data.rate, bands=options.bands)
        return {
            "symbols": list(data.symbols),
            "mel": asdict(mel),
            "scale": _scale(data.parts["train"], mel),
            "manner": asdict(self.manner(options)),
        }

    def build(self, facts: Mapping[str, Any], options: TranscribeOptions) -> nn.Module:
        """A fresh model."""
        model = Transcriber(
            symbols=len(facts["symbols"]),
            bands=options.bands,
            cell=options.cell,
            hidden=options.hidden,
            layers=options.layers,
            bidirectional=not options.streaming,
            channels=options.channels,
            dropout=options.dropout,
            weight_drop=options.weight_drop,
        )
        model.means.copy_(torch.tensor(facts["scale"]["means"]))
        model.deviations.copy_(torch.tensor(facts["scale"]["deviations"]))
        return model

    def problem(self, data: Speech, options: TranscribeOptions, place: Devices) -> _Problem:
        """What the loop trains."""
        return _Problem(self, data, options, place)

    def evaluate(
        self,
        model: nn.Module,
        facts: Mapping[str, Any],
        data: Speech,
        split: str,
        options: TranscribeOptions,
        told: Told,
    ) -> dict[str, float]:
        """How far what is written is from what was said, and the loss."""
        assert isinstance(model, Transcriber)
        part, symbols = data.parts[split], facts["symbols"]
        numbers = {symbol: k for k, symbol in enumerate(symbols, 1)}
        said = [part.text(k) for k in range(len(part))]
        written, nats, count = [""] * len(part), 0.0, 0
        for k, logs in logs_of(model, part, Mel(**facts["mel"]), told):
            written[k] = written_of(logs, symbols)
            target = torch.tensor([numbers_of(said[k], numbers)])
            lengths = torch.tensor([len(logs)]), torch.tensor([target.shape[1]])
            lost = F.ctc_loss(logs[:, None], target, *lengths, reduction="sum").item()
            if math.isfinite(lost):  # else it is too short for its text, which `notes` says
                nats, count = nats + lost, count + target.shape[1]
        return {**error_rates(said, written), "nats": nats / count if count else math.nan}

    def given(self, facts: Mapping[str, Any], paths: Sequence[str], told: Told) -> Speech:
        """Other recordings with what is said in them, of the symbols that were learned."""
        manner = SpeechManner(**facts["manner"])
        return build_speech({"given": paths}, manner, cache(self.name), facts["symbols"], facts["mel"]["rate"], told)

    def baselines(
        self, training: Speech, data: Speech, split: str, options: TranscribeOptions, brief: bool = False
    ) -> Compared:
        """Simple methods that learned from the same recordings."""
        return baselines(training, data.parts[split], options)

    def notes(self, data: Speech, split: str, options: TranscribeOptions, brief: bool = False) -> list[str]:
        """What was left out."""
        notes = [*data.notes]
        mel = Mel(rate=data.rate, bands=options.bands)
        hasty = _hasty(data.parts[split], mel)
        if hasty:
            notes.append(
                f"{hasty:,} of {len(data.parts[split]):,} recordings of the part {split} are too short for their text, "
                "and are left out of the nats."
            )
        if "train" not in data.parts:
            return notes
        train = data.parts["train"]
        left = len(train) - len(_learnable(train, data.rate, options.longest))
        if left:
            notes.append(
                f"{left:,} of {len(train):,} training recordings are longer than {options.longest:g} seconds and were "
                "not learned from (--longest)."
            )
        hasty = _hasty(train, mel)
        if hasty:
            notes.append(
                f"{hasty:,} of {len(train):,} training recordings are too short for their text, which cannot be "
                f"written in them at a symbol in {STRIDE} frames: nothing was learned from them."
            )
        return notes

    def report(self, fitted: Fitted, data: Speech, compared: Compared) -> Iterable[str]:
        """Where it errs."""
        assert isinstance(fitted, TranscribeRun)
        return _report.sections(fitted, data)


def fit(
    data: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    valid: str | Path | Sequence[str | Path] = (),
    test: str | Path | Sequence[str | Path] = (),
    watcher: Watcher | None = None,
    **options: Any,
) -> TranscribeRun:
    """Train a transcriber into a folder.

    Args:
        data: tables of recordings with what is said in them; none: tones of a telephone's keys.
        out: the run's folder, which is made.
        valid: what the best model is chosen by, likewise; none: a tenth of the data.
        test: what `evaluate` reads at the end, likewise.
        watcher: who is told what happens.
        options: those of `TranscribeOptions`, by name.
    """
    folder = Path(out).expanduser()
    _fit(Transcribe(), Sources(paths_of(data), paths_of(valid), paths_of(test)), folder, options, watcher)
    return TranscribeRun(Transcribe(), Run.open(folder))


@dataclass
class _Problem:
    """A transcriber and its recordings, as the loop sees them."""

    task: Transcribe
    data: Speech
    options: TranscribeOptions
    place: Devices

    def __post_init__(self) -> None:
        self.objective = self.task.objective
        self.facts = self.task.facts(self.data, self.options)
        self.mel = Mel(**self.facts["mel"])
        self.train = self.data.parts["train"]
        self.which = _learnable(self.train, self.data.rate, self.options.longest)
        if not len(self.which):
            raise DataError(f"all recordings are longer than {self.options.longest:g} seconds (--longest)")

    def epoch(self, number: int) -> Sequence[Batch]:
        """All recordings once, in an order of this epoch."""
        options, place = self.options, self.place
        seed = options.seed * 1_000_003 + number
        given = (self.train, self.which, self.mel, self.data.symbols, options.batch_size, seed, options.augment)
        return Epoch(*given, place.rank, place.size)

    def carry(self) -> Sequence[Tensor]:
        """Nothing: each recording begins anew."""
        return ()

    def loss(self, model: nn.Module, batch: Batch, carry: Sequence[Tensor]) -> Loss:
        """Minus the logarithm of the probability of what is said, for each symbol."""
        frames, lengths, said, said_lengths = (t.to(self.place.device) for t in batch)
        if self.options.augment:
            frames = masked(frames, lengths)
        logs, steps = model(frames, lengths)
        # The sum over alignments is not for half precision; what is too short for its text teaches nothing.
        nats = F.ctc_loss(logs.float(), said, steps, said_lengths, reduction="none", zero_infinity=True)
        value = nats.sum() / said_lengths.sum()
        return Loss(value, value, ())

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The measures on the validation data."""
        return self.task.evaluate(model, self.facts, self.data, "valid", self.options, untold)


def _learnable(train: Recordings, rate: int, longest: float) -> Array:
    """Which recordings are not too long, (S,)."""
    found: Array = np.flatnonzero(train.lengths <= longest * rate)
    return found


def _hasty(part: Recordings, mel: Mel) -> int:
    """How many recordings are too short for their text: a symbol needs a step, and one more if it is said twice."""
    count = 0
    for k, samples in enumerate(part.lengths.tolist()):
        text = part.text(k)
        needed = len(text) + sum(a == b for a, b in pairwise(text))
        count += halved(halved(mel.frames(samples))) < needed
    return count


def _scale(train: Recordings, mel: Mel) -> dict[str, list[float]]:
    """The mean of each band over some recordings, and how far it deviates from that of its recording."""
    which = np.linspace(0, len(train) - 1, min(len(train), _SCALED_BY)).astype(np.int64)
    frames = [mel(torch.from_numpy(train.of(int(k)))).double() for k in which]
    means = torch.cat(frames).mean(0)
    squares = torch.cat([(each - each.mean(0)) ** 2 for each in frames]).mean(0)
    return {"means": means.tolist(), "deviations": squares.sqrt().clamp(min=1e-3).tolist()}
