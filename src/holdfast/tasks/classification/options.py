"""The options of what reads whole sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.models.pooling import POOLS
from holdfast.naming import nearest
from holdfast.training import OptionError, TrainingOptions, option, redeclared, size


@dataclass(frozen=True, kw_only=True)
class SequenceOptions(TrainingOptions):
    """What of the files is read, and what the model is made of.

    What is left at 0 is settled by the data when the training begins, and stands in the run's config.toml from then on.
    """

    sizes = (32, 64, 128)

    minutes: float = redeclared("minutes", 10.0)
    epochs: int = option(
        0,
        "Passes at most; 0: five, or as many as make 1,500 steps; above a language model four, or 500 steps.",
        least=0,
    )
    batch_size: int = redeclared("batch_size", 32)
    learning_rate: float = redeclared("learning_rate", 0.002)
    average: float = redeclared("average", 0.01)

    text: str = option("", "The column of texts, by name, or by its number in a file without a header.")
    label: str = option("", "The column of what is to be said of each, in the same way.")
    series: str = option("", "In tables of numbers: the column that says which series a row, which is a step, is of.")
    channels: tuple[str, ...] = option((), "In tables of numbers: the columns that are read; by default all others.")
    audio: str = option("", "The column of paths of recordings.")
    skip_bad: bool = option(False, "Leave out what cannot be used, and count it, where it would be an error.")
    valid_share: float = option(0.1, "Of the data, for choices, without --valid.", least=0.001, most=0.9)
    level: Literal["prose", "word", "bpe", "char", "byte"] = option(
        "prose", "What a token of a text is; prose: words in lower case, and punctuation marks."
    )
    vocabulary: int = option(30_000, "Tokens of a prose, word or bpe vocabulary, at most.", least=256)
    longest: int = option(1000, "Steps that are read of a sequence; of a longer one its first and last half.", least=2)

    pretrain: tuple[str, ...] = option(
        (), "Texts without labels, from which a language model learns first; the classifier begins with its layers."
    )
    pretrain_minutes: float = option(30.0, "Minutes of that.", least=0.0)
    from_: str = option("", "A run of the task text, with whose layers the model begins.")

    cell: Literal["lstm", "gru", "rnn", "slstm"] = option("lstm", "The recurrent layers' cell.")
    embedding: int = option(128, "Numbers that stand for a token.", least=1)
    hidden: int = size("Units of a layer and direction", (32, 64, 128))
    layers: int = option(1, "Recurrent layers.", least=1)
    bidirectional: bool = option(True, "Read from the end too; without, a run can say what it thinks after each step.")
    pooling: tuple[str, ...] = option(("mean", "max"), f"From steps to a sequence: any of {', '.join(POOLS)}.")
    dropout: float = option(0.5, "Before the output, and from layer to layer.", least=0.0, most=0.95)
    input_dropout: float = option(0.3, "Of the numbers that the first layer reads.", least=0.0, most=0.95)
    word_dropout: float = option(
        -1.0, "Of the tokens, which are made unknown; below 0: a tenth, above a language model none.", most=0.95
    )
    adversarial: float = option(
        0.05, "Texts are learned led astray too: by so much of their size, where it confuses most.", least=0.0
    )
    noise: float = option(0.3, "Added to series in training, in units of each channel's deviation.", least=0.0)
    weight_drop: float = option(0.2, "Of the recurrent weights.", least=0.0, most=0.95)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.pooling:
            if name not in POOLS:
                raise OptionError(f"pooling must be of {', '.join(POOLS)}; got {name!r}{nearest(name, list(POOLS))}")
        if not self.pooling:
            raise OptionError(f"pooling must name at least one of {', '.join(POOLS)}")
        if self.pretrain and self.from_:
            raise OptionError("pretrain and from exclude each other: a language model is learned, or is there")


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(SequenceOptions):
    """A classifier."""

    class_weights: Literal["equal", "balanced"] = option(
        "equal", "balanced: each class counts as much as another in training, however few its examples are."
    )


@dataclass(frozen=True, kw_only=True)
class RegressOptions(SequenceOptions):
    """A regressor."""
