"""The report's sections on what a composer writes, and how that differs from what it learned from."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from torch import Tensor

from holdfast.data.music import Music, Pieces, midi_bytes
from holdfast.microscope.page import figure, section, table
from holdfast.models import Framed, FrameModel, LanguageModel

from .. import inside
from .learned import Learned
from .novelty import Copied
from .pictures import bar_pairs, piano_roll
from .run import Composed, ComposeRun
from .statistics import intervals, pitch_classes, total_variation, voices

Array = np.ndarray[Any, Any]

_SAMPLES, _BARS = 10, 16  # pieces that are composed, and how long they are: of any meter so many end with a frame
_COMPARED = 500  # pieces of each part whose statistics are shown
_CLASSES = ("1", "♭2", "2", "♭3", "3", "4", "♭5", "5", "♭6", "6", "♭7", "7")  # steps above the tonic


def sections(run: ComposeRun, data: Music) -> Iterable[str]:
    """All of them."""
    train, valid = data.parts["train"], data.parts["valid"]
    samples = run.compose(_BARS, count=_SAMPLES)
    learned = Learned(run, train)
    copied = [learned.longest(sample.piece) for sample in samples]
    words = [learned.words(sample.piece, found) for sample, found in zip(samples, copied)]
    yield section("What it composes", _samples(samples, words))
    yield section("How much stands in the training data", _novelty(run, samples, copied, learned, valid))
    yield section("How its music differs", _differences(run, samples, train, valid))
    if isinstance(run.model, FrameModel):
        yield section("A melody harmonised", _harmonised(run, valid))
    yield _inside(run, valid)


def _samples(samples: Sequence[Composed], copied: Sequence[str]) -> str:
    """All of them, with their notes to be listened to."""
    parts = [
        f"<p>{len(samples)} pieces that the model composed with seed 0 and nothing to go on from, as they came, and "
        "how much of each stands in the training data.</p>"
    ]
    for number, (sample, words) in enumerate(zip(samples, copied), 1):
        held = base64.b64encode(midi_bytes(sample.tune, sample.ticks)).decode()
        name = f"piece-{number}.mid"
        parts.append(drawn(sample, f"Piece {number}"))
        link = f'<a download="{name}" href="data:audio/midi;base64,{held}">{name}</a>'
        parts.append(f"<p>{link}: {escape(words)}.</p>")
    return "\n".join(parts)


def drawn(made: Composed, title: str) -> str:
    """A piece as a picture."""
    return piano_roll(
        made.roll, grid=made.grid, meter=made.tune.meter, title=title, given=made.given, top_given=made.melody
    )


def _novelty(
    run: ComposeRun, samples: Sequence[Composed], copied: Sequence[Copied], learned: Learned, valid: Pieces
) -> str:
    """The longest passage of each sample, beside those of validation pieces, which are music of the kind."""
    most = max(len(sample.piece) for sample in samples)
    others = [valid.of(k)[:most] for k in range(min(len(valid), _SAMPLES))]
    lengths = [[found.length for found in copied], [learned.longest(piece).length for piece in others]]
    rows = [
        (name, [f"{min(found):,}", f"{np.median(found):g}", f"{max(found):,}"])
        for name, found in zip((f"{len(samples)} pieces composed", f"{len(others)} validation pieces"), lengths)
    ]
    words = (
        f"The longest passage of each piece that stands, note for note, anywhere in {learned.where}, at any pitch, in "
        f"{run.form.unit}. Validation pieces of the same length say how much pieces of the kind share anyway; a model "
        "that copies shares far more."
    )
    return f"<p>{words}</p>" + table(["shortest", "median", "longest"], rows)


def _differences(run: ComposeRun, samples: Sequence[Composed], train: Pieces, valid: Pieces) -> str:
    """Histograms of the data and of the samples, and how far they are apart."""
    learned, held = (_rolls(run, part) for part in (train, valid))
    made = [sample.roll for sample in samples]
    figures, rows = [], []
    for what, measure, labels in (
        ("pitch classes, as steps of the scale above the tonic", pitch_classes, _CLASSES),
        ("intervals of the highest voice, in semitones", intervals, [str(k) for k in range(-12, 13)]),
        ("keys that sound together", voices, [*map(str, range(8)), "8+"]),
    ):
        ours, theirs, others = measure(learned), measure(made), measure(held)
        chart = bar_pairs(labels, ours.tolist(), theirs.tolist(), title=what, x_label=what, y_label="share")
        figures.append(figure(chart, f"{what[0].upper()}{what[1:]}, in the training data and in the pieces composed."))
        rows.append((what, [f"{total_variation(ours, theirs):.3f}", f"{total_variation(ours, others):.3f}"]))
    words = (
        "How far the histograms are from those of the training data: the share that would have to be moved to make one "
        "of the other (total variation). The tonic of each piece is estimated (Krumhansl and Kessler 1982)."
    )
    return "\n".join(figures) + f"<p>{words}</p>" + table(["pieces composed", "validation pieces"], rows)


def _rolls(run: ComposeRun, part: Pieces) -> list[Array]:
    which = np.linspace(0, len(part) - 1, min(len(part), _COMPARED)).astype(np.int64)
    return [run.form.roll(part.of(int(k)), run.grid)[0] for k in which]


def _harmonised(run: ComposeRun, valid: Pieces) -> str:
    """The highest voice of a validation piece, with what stands below it and what the model puts there."""
    longest = run.end_of(_BARS, run.meter)
    k = next((k for k in range(len(valid)) if valid.of(k)[:longest].any()), None)
    if k is None:
        return f"<p>Nothing sounds in the first {_BARS} bars of the validation pieces.</p>"
    piece = valid.of(k)[:longest]
    piece = piece[: np.flatnonzero(piece.any(1))[-1] + 1]
    made = run.harmonise(run.form.tune(piece, run.grid, run.facts["tempo"], run.meter))[0]
    share = (made.roll == piece).all(1).mean()
    theirs = piano_roll(piece, grid=run.grid, meter=run.meter, title=valid.name(k), top_given=True)
    return "\n".join(
        [
            theirs,
            f"<p>{escape(valid.name(k))}, a validation piece, as it is.</p>",
            drawn(made, "The same melody, harmonised"),
            "<p>The same highest notes, and below them what the model puts there; "
            f"{share:.0%} of the frames are the same.</p>",
        ]
    )


def _inside(run: ComposeRun, valid: Pieces) -> str:
    """What the layers do while the model reads phrases."""
    steps = min(inside.STEPS + 1, int(valid.lengths.max()))
    longest = np.flatnonzero(valid.lengths >= steps)[: inside.SEQUENCES]
    phrases = run.form.together([valid.of(int(k))[:steps] for k in longest])  # (T, B, …)
    before, after = phrases[:-1], phrases[1:]
    if len(before) < 2:
        return section("Inside the model", "<p>The pieces are too short: there is nothing to remember.</p>")

    def lost(output: Any) -> Tensor:
        model = run.model
        if isinstance(model, FrameModel):
            assert isinstance(output, Framed)
            return model.nats(output.features[-1:], before[-1:], after[-1:]).sum()
        assert isinstance(model, LanguageModel)
        return model.loss(output.features[-1:], after[-1:]).sum()

    unit = run.form.unit.removesuffix("s")
    return inside.inside(run.model, before, lost, unit, valid.name(int(longest[0])))
