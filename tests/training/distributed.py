"""The toy, trained by all processes of this group: `… -m tests.training.distributed FOLDER BATCH STEPS [DROPOUT]`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from holdfast.training import Nowhere, Run, Training, TrainingOptions, devices
from tests.training.toy import Model, Problem, Silent


def train(folder: Path, batch: int, steps: int, dropout: float = 0.0) -> None:
    """Train, or go on with what is there."""
    options = TrainingOptions(steps=steps, accumulate=2, warm_up=3, evaluations=2, schedule="constant", device="cpu")
    with devices(options) as place:
        fresh = not folder.exists()
        torch.distributed.barrier() if place.size > 1 else None
        if place.first and fresh:
            Run.create(folder, {"task": "toy", "options": {}})
        torch.manual_seed(5)
        model = Model(dropout)
        torch.manual_seed(6 + place.rank)
        run = Run(folder)
        problem, keeper = Problem(batch=batch, rank=place.rank, size=place.size), run if place.first else Nowhere()
        found = Training(problem, model, options, place, keeper, Silent())
        latest = None if fresh else run.latest()
        if latest is not None:
            found.restore(*latest)
        found.run()
        run.close()


def main() -> None:
    """Train as the command line says."""
    folder, batch, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    train(folder, batch, steps, float(sys.argv[4]) if len(sys.argv) > 4 else 0.0)
    left = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]  # none where there is no /proc
    assert not [name for name in left if "gloo" in name], "a thread of the group is left, and may abort Python's end"


if __name__ == "__main__":
    main()
