"""From sound files to what a speech recogniser and a classifier learn from.

Importing this needs no package of the extra `speech`; reading a sound does.
"""

from .augmentation import disturbed, masked
from .mel import Mel, MelStream
from .recordings import Recordings, Speech, SpeechManner, build_speech, spoken
from .sound import SUFFIXES, common_rate, pcm_blocks, rate_of, resampled, sound, sound_blocks

__all__ = [
    "SUFFIXES",
    "Mel",
    "MelStream",
    "Recordings",
    "Speech",
    "SpeechManner",
    "build_speech",
    "common_rate",
    "disturbed",
    "masked",
    "pcm_blocks",
    "rate_of",
    "resampled",
    "sound",
    "sound_blocks",
    "spoken",
]
