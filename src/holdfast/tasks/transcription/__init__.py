"""Transcription: the sound of speech in, what is said out."""

from .run import Decoding, Live, TranscribeRun, Transcript
from .subtitles import subtitles
from .task import Transcribe, fit

__all__ = ["Decoding", "Live", "Transcribe", "TranscribeRun", "Transcript", "fit", "subtitles"]
