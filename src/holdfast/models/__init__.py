"""Models on the layers, and the simple ones to compare them with."""

from .classification import SequenceModel, SequenceStream
from .ctc import Alignment, GreedyStream, Word, align, confidences, greedy, words
from .ctc_language import LanguageScorer
from .ctc_search import BeamSearch, Hypothesis, PrefixScorer, beam_search
from .forecasting import AutoregressiveForecaster, Forecasting, PatchForecaster, Unrolled, Window
from .frame_heads import HEADS, Drawn
from .frames import Framed, FrameModel, FrameStream
from .generation import Encoding, Sampling, choose, generate, write
from .language import CELLS, LanguageModel, LanguageStream, Output, default_cutoffs, detach, state_tensors
from .naive import Ridge, repeat_last, seasonal_naive, statistical, window_scales
from .ngrams import NGram, largest_order
from .seq2seq import ATTENTIONS, Decoded, EncoderDecoder, Memory
from .seq2seq_search import Against, Beam, Candidate, beam_decode, limits, sample_decode, selected
from .transcription import STRIDE, Transcriber, TranscriberStream, halved

__all__ = [
    "ATTENTIONS",
    "CELLS",
    "HEADS",
    "STRIDE",
    "Against",
    "Alignment",
    "AutoregressiveForecaster",
    "Beam",
    "BeamSearch",
    "Candidate",
    "Decoded",
    "Drawn",
    "EncoderDecoder",
    "Encoding",
    "Forecasting",
    "FrameModel",
    "FrameStream",
    "Framed",
    "GreedyStream",
    "Hypothesis",
    "LanguageModel",
    "LanguageScorer",
    "LanguageStream",
    "Memory",
    "NGram",
    "Output",
    "PatchForecaster",
    "PrefixScorer",
    "Ridge",
    "Sampling",
    "SequenceModel",
    "SequenceStream",
    "Transcriber",
    "TranscriberStream",
    "Unrolled",
    "Window",
    "Word",
    "align",
    "beam_decode",
    "beam_search",
    "choose",
    "confidences",
    "default_cutoffs",
    "detach",
    "generate",
    "greedy",
    "halved",
    "largest_order",
    "limits",
    "repeat_last",
    "sample_decode",
    "seasonal_naive",
    "selected",
    "state_tensors",
    "statistical",
    "window_scales",
    "words",
    "write",
]
