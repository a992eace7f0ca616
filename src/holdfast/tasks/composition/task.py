"""The task: music in, a model that measures, continues, harmonises and composes music out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.data import Told, untold
from holdfast.data.music import Music, MusicManner, Pieces, build_music, chorales, default_source, rules
from holdfast.models.language import ModelState
from holdfast.training import Devices, Loss, OptionError, Run, Watcher

from ..caching import cache
from ..fitting import Fitted, paths_of
from ..fitting import fit as _fit
from ..task import Compared, Preset, Sources, Task
from . import report as _report
from .baselines import of_events, of_frames
from .batches import Batch, Epoch, in_batches
from .forms import FORMS, Form
from .options import ComposeOptions
from .run import ComposeRun

Array = np.ndarray[Any, Any]

_AT_HAND = {
    rules.NAME: "It learned from pieces that are made by rules, not by people: give it music of your own, or get "
    "Bach's chorales by pip install 'holdfast[chorales]'.",
    chorales.NAME: "It learned from Bach's chorales, as music21 carries them.",
}
_BRIEF = 50_000  # steps of validation pieces that are measured at each evaluation


class Compose(Task[ComposeOptions, Music]):
    """Music to more music."""

    name = "compose"
    summary = "A composer: it reads music, and writes more of the kind."
    objective = "nats"
    unit = "frames or events"
    options = ComposeOptions
    fitted = ComposeRun
    use = "Compose: holdfast compose {run} --bars 16 --out song.mid"
    presets: ClassVar[Mapping[str, Preset]] = {
        "folk": Preset(
            "hundreds of tunes that are all in the keys of the instruments that play them",
            {"transpose": 0, "dropout": 0.4, "weight_drop": 0.3, "batch_size": 16, "window": 128},
        )
    }

    def manner(self, options: ComposeOptions) -> MusicManner:
        """How files are read."""
        return MusicManner(
            form=options.form,
            grid=options.grid,
            meter=options.meter,
            skip_bad=options.skip_bad,
            share=options.valid_share,
            seed=options.seed,
        )

    def read(self, sources: Sources, options: ComposeOptions, told: Told) -> Music:
        """The pieces, kept in the cache folder; without any, what is at hand."""
        data = sources.data or (default_source(),)
        parts = {"train": data, "valid": sources.valid, "test": sources.test}
        music = build_music(parts, self.manner(options), cache(self.name), told=told)
        return replace(music, notes=(*(_AT_HAND[path] for path in data if path in _AT_HAND), *music.notes))

    def prepare(self, sources: Sources, options: ComposeOptions, place: Devices, watcher: Watcher) -> Sources:
        """The sources by their names: what is at hand may be something else another time."""
        return sources if sources.data else replace(sources, data=(default_source(),))

    def settle(self, data: Music, options: ComposeOptions, place: Devices) -> ComposeOptions:
        """The grid and the meter."""
        if options.form == "events" and options.head != ComposeOptions.head:
            raise OptionError("head is how the keys of a frame depend on each other, and events are no frames")
        return replace(options, grid=data.grid, meter=f"{data.meter[0]}/{data.meter[1]}")

    def describe(self, data: Music) -> dict[str, Any]:
        """How many pieces there are, how long they are, and in which form."""
        about: dict[str, Any] = {"digest": data.digest}
        for name, part in data.parts.items():
            about[f"{name} pieces"] = len(part)
            about[f"{name} {data.form}"] = int(part.lengths.sum())
        lengths = next(iter(data.parts.values())).lengths
        about[f"{data.form} of the shortest, the median and the longest piece"] = (
            f"{lengths.min():,}, {np.median(lengths):g}, {lengths.max():,}"
        )
        each = "frames a beat" if data.form == "frames" else "steps of time a beat"
        return {**about, each: data.grid, "meter": f"{data.meter[0]}/{data.meter[1]}", "beats a minute": data.tempo}

    def facts(self, data: Music, options: ComposeOptions) -> dict[str, Any]:
        """The form, the longest note, and what turns steps into music."""
        return {
            "form": data.form,
            **FORMS[data.form].facts(data.parts["train"], data.grid),
            "grid": data.grid,
            "meter": list(data.meter),
            "tempo": data.tempo,
            "manner": asdict(self.manner(options)),
        }

    def build(self, facts: Mapping[str, Any], options: ComposeOptions) -> nn.Module:
        """A fresh model."""
        return FORMS[facts["form"]].build(options)

    def problem(self, data: Music, options: ComposeOptions, place: Devices) -> _Problem:
        """What the loop trains."""
        return _Problem(self, data, options, place)

    def evaluate(
        self,
        model: nn.Module,
        facts: Mapping[str, Any],
        data: Music,
        split: str,
        options: ComposeOptions,
        told: Told,
    ) -> dict[str, float]:
        """How well each step was foreseen."""
        part = data.parts[split]
        return {"nats": nats_of(model, FORMS[data.form], part, np.arange(len(part)), told)}

    def given(self, facts: Mapping[str, Any], paths: Sequence[str], told: Told) -> Music:
        """Other music, in the form that was learned."""
        return build_music({"given": paths}, MusicManner(**facts["manner"]), cache(self.name), told=told)

    def baselines(
        self, training: Music, data: Music, split: str, options: ComposeOptions, brief: bool = False
    ) -> Compared:
        """Simple methods that learned from the same music."""
        part = data.parts[split]
        methods = of_frames if data.form == "frames" else of_events
        return Compared(methods(training.parts["train"], part, first(part) if brief else np.arange(len(part))))

    def notes(self, data: Music, split: str, options: ComposeOptions, brief: bool = False) -> list[str]:
        """What was measured, and what was left out."""
        part = data.parts[split]
        unit = FORMS[data.form].unit
        notes = [f"nats are those of {unit}, of each piece the second and all after it.", *data.notes]
        if brief and len(first(part)) < len(part):
            notes.append(f"At each evaluation the first {len(first(part)):,} of {len(part):,} pieces were read.")
        return notes

    def report(self, fitted: Fitted, data: Music, compared: Compared) -> Iterable[str]:
        """What it composes, and how that differs from what it learned from."""
        assert isinstance(fitted, ComposeRun)
        return _report.sections(fitted, data)


def first(part: Pieces) -> Array:
    """The first pieces of a part, as many as are read at each evaluation, (S,)."""
    count = int(np.searchsorted(np.cumsum(part.lengths), _BRIEF)) + 1
    return np.arange(min(len(part), count))


@torch.no_grad()
def nats_of(model: nn.Module, form: Form, part: Pieces, which: Array, told: Told = untold) -> float:
    """Minus the logarithm of the probability of each step but the first of a piece, their mean, in nats."""
    device = next(model.parameters()).device
    total, count, done = 0.0, 0, 0
    for numbers, batch in in_batches(form, part, which):
        told(f"measuring: {done:,} of {len(which):,} pieces")
        batch.there[0] = False
        state: ModelState | None = None
        for block in batch.blocks():
            before, after, there = block.to(device)
            nats, state = form.nats(model, before, after, there, state)
            total, count = total + float(nats.double().sum()), count + int(there.sum())
        done += len(numbers)
    return total / count if count else float("nan")


def fit(
    data: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    valid: str | Path | Sequence[str | Path] = (),
    test: str | Path | Sequence[str | Path] = (),
    watcher: Watcher | None = None,
    **options: Any,
) -> ComposeRun:
    """Train a composer into a folder.

    Args:
        data: MIDI files, folders of them, or `.mat` files of piano rolls; none: Bach's chorales if music21 is
            installed, or tunes that are made by rules.
        out: the run's folder, which is made.
        valid: what the best model is chosen by, likewise; none: a tenth of the data, or the `.mat` file's own part.
        test: what `evaluate` reads at the end, likewise.
        watcher: who is told what happens.
        options: those of `ComposeOptions`, by name.
    """
    folder = Path(out).expanduser()
    _fit(Compose(), Sources(paths_of(data), paths_of(valid), paths_of(test)), folder, options, watcher)
    return ComposeRun(Compose(), Run.open(folder))


class _Problem:
    """A model of music and its pieces, as the loop sees them."""

    objective = Compose.objective

    def __init__(self, task: Compose, data: Music, options: ComposeOptions, place: Devices) -> None:
        self._data, self._options, self._place = data, options, place
        self._form = FORMS[data.form]

    def epoch(self, number: int) -> Sequence[Batch]:
        """All pieces once, in windows of this epoch."""
        options, place = self._options, self._place
        seed = options.seed * 1_000_003 + number
        given = (self._data.parts["train"], options.window, options.batch_size, options.transpose, seed)
        return Epoch(self._form, *given, place.rank, place.size)

    def carry(self) -> Sequence[Tensor]:
        """Nothing: each window begins anew."""
        return ()

    def loss(self, model: nn.Module, batch: Batch, carry: Sequence[Tensor]) -> Loss:
        """The mean over all steps."""
        before, after, there = batch.to(self._place.device)
        nats, _ = self._form.nats(model, before, after, there, None)
        value = nats.sum() / there.sum()
        return Loss(value, value, ())

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The measures on the first validation pieces."""
        part = self._data.parts["valid"]
        return {self.objective: nats_of(model, self._form, part, first(part))}
