"""The options of what composes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from holdfast.training import TrainingOptions, option, redeclared, size


@dataclass(frozen=True, kw_only=True)
class ComposeOptions(TrainingOptions):
    """How music is read, and what the model is made of.

    What is left at 0 or empty is settled by the data when the training begins, and stands in the run's config.toml from
    then on.
    """

    sizes = (64, 128, 256)

    batch_size: int = redeclared("batch_size", 32)
    learning_rate: float = redeclared("learning_rate", 0.003)

    form: Literal["frames", "events"] = option(
        "frames", "Frames, which keys sound; or events, which tell every note's time and strength."
    )
    head: Literal["chord", "independent"] = option(
        "chord", "Of frames: each key depends on those above it, or on none of the same frame."
    )
    grid: int = option(
        0, "Frames, or steps of an event's time, a beat; 0: 4 frames of MIDI and 1 of .mat, 12 steps.", least=0
    )
    meter: str = option("", "Of what is composed, such as 3/4, if it is not the commonest of the files.")
    transpose: int = option(6, "Semitones by which pieces are moved up or down at most, anew each time.", least=0)
    window: int = option(256, "Frames or events that are learned from at a time.", least=2)
    skip_bad: bool = option(False, "Leave out files that cannot be used, and count them; otherwise an error.")
    valid_share: float = option(0.1, "Of the pieces, for choices, without --valid.", least=0.001, most=0.9)

    cell: Literal["lstm", "gru", "rnn", "slstm"] = option("lstm", "The recurrent layers' cell.")
    embedding: int = option(128, "Numbers that stand for a frame or an event.", least=1)
    hidden: int = size("Units of a layer", (64, 128, 256))
    layers: int = option(1, "Recurrent layers.", least=1)
    dropout: float = option(0.3, "Below each layer and above the last.", least=0.0, most=0.95)
    weight_drop: float = option(0.0, "Of the recurrent weights.", least=0.0, most=0.95)

    def model(self) -> dict[str, Any]:
        """What of them makes the layers, of either form."""
        names = ("cell", "embedding", "hidden", "layers", "dropout", "weight_drop")
        return {name: getattr(self, name) for name in names}
