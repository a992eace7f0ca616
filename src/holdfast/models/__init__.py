"""Language models on the layers, text generation, and the n-gram models to compare them with."""

from .generation import Encoding, Sampling, choose, generate, write
from .language import CELLS, LanguageModel, LanguageStream, Output, default_cutoffs, detach, state_tensors
from .ngrams import NGram, largest_order

__all__ = [
    "CELLS",
    "Encoding",
    "LanguageModel",
    "LanguageStream",
    "NGram",
    "Output",
    "Sampling",
    "choose",
    "default_cutoffs",
    "detach",
    "generate",
    "largest_order",
    "state_tensors",
    "write",
]
