"""The options of what replies."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.training import option, redeclared

from ..paired import PairedOptions


@dataclass(frozen=True, kw_only=True)
class ChatOptions(PairedOptions):
    """What of the dialogues is read, and what the model is made of."""

    minutes: float = redeclared("minutes", 45.0)
    learning_rate: float = redeclared("learning_rate", 0.004)
    average: float = redeclared("average", 0.002)
    smoothing: float = redeclared("smoothing", 0.0, PairedOptions)
    layers: int = redeclared("layers", 1, PairedOptions)
    dropout: float = redeclared("dropout", 0.0, PairedOptions)

    context: int = option(3, "Turns before a reply that are read.", least=1)
    skip_bad: bool = option(False, "Leave out dialogues that cannot be used, and count them; otherwise an error.")
    valid_share: float = option(0.1, "Of the dialogues, for choices, without --valid.", least=0.001, most=0.9)
    vocabulary: int = option(0, "Byte pairs; 0: one for each 500 characters, 300 to 8000.", least=0)
