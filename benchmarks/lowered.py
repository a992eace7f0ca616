"""Both sides held to the vectors of a lesser processor: ours, and all that PyTorch multiplies with.

Each library reads its variable once, as it is loaded. So a process that is to be lowered is started anew with them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

ENVIRONMENTS: Mapping[str, Mapping[str, str]] = {
    "avx2": {
        "HOLDFAST_VECTORS": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # MKL heeds it on Intel's processors only
        "ATEN_CPU_CAPABILITY": "avx2",
    },
}


def missing(vectors: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that an environment lacks for some vectors.

    >>> missing("avx2", ENVIRONMENTS["avx2"])
    {}
    """
    return {name: value for name, value in ENVIRONMENTS[vectors].items() if environment.get(name) != value}


def restarted(vectors: str, arguments: Sequence[str]) -> None:
    """Go on in a process that is lowered to some vectors, unless this one is."""
    more = missing(vectors, os.environ)
    if more:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *arguments], {**os.environ, **more})
