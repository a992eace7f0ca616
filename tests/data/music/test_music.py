"""The package of music: what it offers, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

from holdfast.data import music


def test_every_name_is_there_once() -> None:
    assert len(set(music.__all__)) == len(music.__all__)
    assert not [name for name in music.__all__ if not hasattr(music, name)]


def test_importing_it_needs_no_extra() -> None:
    program = "import sys, holdfast.data.music; print({'mido', 'scipy', 'music21'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
