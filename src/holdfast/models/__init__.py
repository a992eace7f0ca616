"""Models on the layers, and the simple ones to compare them with."""

from .classification import SequenceModel, SequenceStream
from .forecasting import AutoregressiveForecaster, Forecasting, PatchForecaster, Unrolled, Window
from .generation import Encoding, Sampling, choose, generate, write
from .language import CELLS, LanguageModel, LanguageStream, Output, default_cutoffs, detach, state_tensors
from .naive import Ridge, repeat_last, seasonal_naive, statistical, window_scales
from .ngrams import NGram, largest_order

__all__ = [
    "CELLS",
    "AutoregressiveForecaster",
    "Encoding",
    "Forecasting",
    "LanguageModel",
    "LanguageStream",
    "NGram",
    "Output",
    "PatchForecaster",
    "Ridge",
    "Sampling",
    "SequenceModel",
    "SequenceStream",
    "Unrolled",
    "Window",
    "choose",
    "default_cutoffs",
    "detach",
    "generate",
    "largest_order",
    "repeat_last",
    "seasonal_naive",
    "state_tensors",
    "statistical",
    "window_scales",
    "write",
]
