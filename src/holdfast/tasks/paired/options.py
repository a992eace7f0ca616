"""The options that tasks share which read one text and write another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from holdfast.training import TrainingOptions, option, redeclared, size


@dataclass(frozen=True, kw_only=True)
class PairedOptions(TrainingOptions):
    """What the model is made of, and what it does not learn from."""

    sizes = (64, 128, 256)

    batch_size: int = redeclared("batch_size", 32)
    clip: float = redeclared("clip", 5.0)

    longest: int = option(200, "Tokens; pairs in which a side has more are not learned from.", least=1)
    smoothing: float = option(0.1, "Of the target, the share that is spread over all tokens.", least=0.0, most=0.9)
    cell: Literal["lstm", "gru", "rnn", "slstm"] = option("lstm", "The recurrent layers' cell.")
    attention: Literal["general", "additive", "none"] = option("general", "How the decoder looks at the source.")
    embedding: int = option(256, "Numbers that stand for a token.", least=1)
    hidden: int = size("Units of a layer of the decoder, half of them each direction of the encoder", (64, 128, 256))
    layers: int = option(2, "Of the encoder, and of the decoder.", least=1)
    dropout: float = option(0.3, "Between layers, on the embedded tokens, and before the output.", least=0.0, most=0.95)
    embedding_dropout: float = option(0.0, "Of whole tokens of the vocabularies.", least=0.0, most=0.95)
    weight_drop: float = option(0.0, "Of the recurrent weights.", least=0.0, most=0.95)

    def model(self) -> dict[str, Any]:
        """What an `EncoderDecoder` is made with, but for its vocabularies."""
        names = ("cell", "embedding", "hidden", "layers", "attention", "dropout", "embedding_dropout", "weight_drop")
        return {name: getattr(self, name) for name in names}
