"""The same tables for another revision of the package, side by side."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .machine import ROOT
from .report import Table


def measure(reference: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What this benchmark finds with the package as it stands in another revision.

    The revision's source is unpacked to a temporary folder; the benchmark itself is the one that is checked out.

    Args:
        reference: a revision, as git names it.
        arguments: the command line of the benchmark.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packed = subprocess.run(["git", "archive", reference, "src"], cwd=ROOT, capture_output=True)
        if packed.returncode:
            raise SystemExit(f"--compare {reference}: {packed.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        written = folder / "found.json"
        command = [sys.executable, "-m", "benchmarks", *arguments, "--json", str(written)]
        environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{reference} could not be measured:\n{done.stderr}")
        found: dict[str, Any] = json.loads(written.read_text())
    return found


def show(tables: Sequence[Table], other: Mapping[str, Any], reference: str) -> None:
    """Print what is compared of each row: there, and here."""
    print(f"\ncompared with {reference}: each figure there → here")
    for table in tables:
        theirs = {table.label(row): row for row in other["tables"][table.name]["rows"]}
        columns = [column for column in table.columns if column.compared]
        width = max([len(table.label(row)) for row in table.rows], default=0)
        print(f"\n{table.name:<{width}} " + " ".join(f"{column.title:>20}" for column in columns))
        for row in table.rows:
            before = theirs.get(table.label(row), {})
            entries = (f"{c.cell(before).strip()} → {c.cell(row).strip()}" for c in columns)
            print(f"{table.label(row):<{width}} " + " ".join(f"{entry:>20}" for entry in entries))
