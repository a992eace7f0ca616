"""A training of the toy in a process of its own, to be killed: `python -m tests.training.child FOLDER`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.training.toy import Silent, resumed


class _Slow(Silent):
    """Makes steps take a while, so that a kill can meet them."""

    def __init__(self, folder: Path, pause: float) -> None:
        super().__init__()
        self.folder, self.pause = folder, pause

    def step(self, *given: Any) -> None:
        """Say that steps are made, and wait."""
        (self.folder / "alive").touch()
        time.sleep(self.pause)


def finish(folder: Path, pause: float = 0.0) -> None:
    """Go on with the run to its end."""
    found = resumed(folder, steps=60, checkpoint_every=2, watcher=_Slow(folder, pause))
    found.run()
    found.keeper.close()  # type: ignore[attr-defined]


def main() -> None:
    """Go on with the run."""
    torch.set_num_threads(1)
    finish(Path(sys.argv[1]), pause=0.01)


if __name__ == "__main__":
    main()
