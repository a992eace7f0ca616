"""From sound files to what a speech recogniser and a classifier learn from.

Importing this needs no package of the extra `speech`; reading a sound does.
"""

from .augmentation import disturbed, masked
from .mel import Mel, MelStream
from .sound import SUFFIXES, common_rate, pcm_blocks, rate_of, sound, sound_blocks

__all__ = [
    "SUFFIXES",
    "Mel",
    "MelStream",
    "common_rate",
    "disturbed",
    "masked",
    "pcm_blocks",
    "rate_of",
    "sound",
    "sound_blocks",
]
