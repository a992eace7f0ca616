"""What the figures were measured on, and with what."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import holdfast

ROOT = Path(__file__).parents[1]


def describe(threads: int, peak: float) -> dict[str, Any]:
    """The machine, the versions and the moment.

    Args:
        threads: PyTorch's.
        peak: floating-point operations a second of a large matrix product.
    """
    return {
        "cpu": cpu_name(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "peak": peak,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "holdfast": holdfast.__version__,
        "revision": revision(),
        **{name: version(name) for name in ("torch", "numpy", "llvmlite", "onnxruntime")},
    }


def cpu_name() -> str:
    """The processor, as it calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def version(package: str) -> str | None:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def revision() -> str | None:
    """What is checked out, with a + if there are changes; None where git does not know."""
    try:
        if not Path(holdfast.__file__).is_relative_to(ROOT):
            return None
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT, capture_output=True, text=True
        )
    except OSError:
        return None
    return shown.stdout.strip() or None
