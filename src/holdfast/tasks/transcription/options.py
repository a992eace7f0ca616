"""The options of what writes down speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.training import TrainingOptions, option, redeclared, size


@dataclass(frozen=True, kw_only=True)
class TranscribeOptions(TrainingOptions):
    """What of the manifests is read, how sound becomes frames, and what the model is made of.

    What is left at 0 is settled by the data when the training begins, and stands in the run's config.toml from then on.
    """

    sizes = (64, 128, 256)

    minutes: float = redeclared("minutes", 30.0)
    batch_size: int = redeclared("batch_size", 16)
    learning_rate: float = redeclared("learning_rate", 0.002)

    audio: str = option("", "The column of paths of recordings, if it is called otherwise than path, file or audio.")
    text: str = option("", "The column of what is said in them, if it is called otherwise than text or transcript.")
    case: bool = option(False, "Tell capital letters from small ones.")
    rate: int = option(0, "Samples a second; 0: as most of the first recordings have, 16,000 at most.", least=0)
    skip_bad: bool = option(False, "Leave out recordings that cannot be used, and count them; otherwise an error.")
    valid_share: float = option(0.1, "Of the data, for choices, without --valid.", least=0.001, most=0.9)
    longest: float = option(30.0, "Seconds; recordings that are longer are not learned from.", least=0.1)

    streaming: bool = option(False, "Read in one direction, so that a run can write while somebody is speaking.")
    augment: bool = option(True, "Learn from recordings that are changed a little: speed, noise, loudness, holes.")
    bands: int = option(64, "Of the sound's pitch, in mel.", least=8)
    channels: int = option(32, "Of the two convolutions.", least=1)
    cell: Literal["lstm", "gru", "rnn", "slstm"] = option("lstm", "The recurrent layers' cell.")
    hidden: int = size("Units of a layer and direction", (64, 128, 256))
    layers: int = option(2, "Recurrent layers.", least=1)
    dropout: float = option(0.2, "Below each layer and above the last.", least=0.0, most=0.95)
    weight_drop: float = option(0.1, "Of the recurrent weights.", least=0.0, most=0.95)
