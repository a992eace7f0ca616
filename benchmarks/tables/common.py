"""What several tables need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.machine import ROOT


def seeded() -> None:
    """Every row starts from the same seed, so that it does not depend on which rows are measured before it."""
    torch.manual_seed(0)


def probe(name: str, *arguments: object, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a probe finds in a fresh process.

    Args:
        name: of the module in `benchmarks.probes`.
        arguments: its command line.
        environment: all the environment variables it sees.
    """
    command = [sys.executable, "-m", f"benchmarks.probes.{name}", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the probe {name} {arguments} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
