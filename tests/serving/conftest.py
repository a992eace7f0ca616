"""Things to look at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import holdfast
from holdfast.tasks.text import TextRun

TEXT = 'He said: "The cat sat on the mat,\nand the rat sat on the cat." So they sat.\n'


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    folder = tmp_path_factory.mktemp("look")
    (folder / "text.txt").write_text(TEXT * 12)
    torch.manual_seed(0)
    tiny = {"steps": 30, "hidden": 24, "layers": 2, "embedding": 6, "batch_size": 4, "window": 16}
    return holdfast.tasks.text.fit(folder / "text.txt", out=folder / "run", **tiny)


@pytest.fixture(scope="session")
def address(run: TextRun) -> Iterator[str]:
    """Of the page of the tiny run, served by the command."""
    command = [sys.executable, "-W", "error", "-m", "holdfast.cli", "look", str(run.folder), "--text", TEXT]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--no-browser"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            assert said.startswith("The page is http://127.0.0.1:"), said + process.stdout.read()
            yield said.split()[-1]
        finally:
            process.terminate()


@pytest.fixture
def html(run: TextRun, tmp_path: Path) -> Path:
    """The page of the tiny run as a file."""
    from holdfast.serving import View, html_file

    path = tmp_path / "look.html"
    path.write_text(html_file(View(run.subject(TEXT))), encoding="utf-8")
    return path
