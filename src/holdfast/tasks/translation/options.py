"""The options of what translates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.training import option, redeclared

from ..paired import PairedOptions


@dataclass(frozen=True, kw_only=True)
class TranslateOptions(PairedOptions):
    """What of the files is read, and what the model is made of."""

    minutes: float = redeclared("minutes", 30.0)
    average: float = redeclared("average", 0.002)

    source_column: str = option("", "Of tables: the column of sources, if it is called otherwise than source or src.")
    target_column: str = option("", "Of tables: that of targets, if it is called otherwise than target or tgt.")
    skip_bad: bool = option(False, "Leave out pairs that cannot be used, and count them; otherwise an error.")
    valid_share: float = option(0.1, "Of the data, for choices, without --valid.", least=0.001, most=0.9)
    level: Literal["", "bpe", "char", "word"] = option(
        "", "What a token is; empty: char where targets have fewer than two words on average, else bpe."
    )
    vocabulary: int = option(0, "Tokens of a bpe or word vocabulary; 0: one for each 500 characters.", least=0)
    shared: bool = option(True, "One vocabulary and one embedding for sources and targets.")
