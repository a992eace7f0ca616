"""`holdfast look` through the real entry point."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

import holdfast
from holdfast.cli.commands import commands


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("look")
    (folder / "text.txt").write_text("the cat sat on the mat\n" * 60)
    torch.manual_seed(0)
    tiny = {"steps": 2, "hidden": 8, "embedding": 4, "batch_size": 2, "window": 16}
    return holdfast.tasks.text.fit(folder / "text.txt", out=folder / "run", **tiny).folder


def invoked(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, ["look", *map(str, arguments)])


def test_the_page_is_written_into_a_file(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "look.html"
    done = invoked(run, "--text", "the hat", "--html", page)
    assert done.exit_code == 0, done.output
    assert str(page) in done.output.replace("\n", "")
    assert '"pieces":["t","h","e"," ","h","a","t"]' in page.read_text(encoding="utf-8")


def test_a_file_of_text_is_read_from_its_beginning(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("sat on a mat")
    done = invoked(run, "--data", tmp_path / "other.txt", "--steps", "3", "--html", tmp_path / "look.html")
    assert done.exit_code == 0, done.output
    assert '"pieces":["s","a","t"]' in (tmp_path / "look.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["{run}", "--text", "a", "--data", "b"], "--text and --data exclude each other"),
        (["{run}", "--text", ""], "--text is empty"),
        (["{run}", "--html", "{run}"], "is a folder"),
        (["{run}", "--html", "{run}/nowhere/look.html"], "--html: there is no folder"),
        (["{run}", "--html", "x.html", "--port", "8000"], "--port and --html exclude each other"),
        (["{run}", "--data", "nothing.txt", "--html", "x.html"], "nothing.txt"),
        (["{run}", "--steps", "0"], "--steps"),
        (["{run}", "--port", "70000"], "--port"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(run: Path, arguments: list[str], message: str) -> None:
    done = invoked(*(one.format(run=run) for one in arguments))
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert "Traceback" not in done.output


def test_a_port_that_is_taken_is_said(run: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = invoked(run, "--no-browser", "--port", str(taken.getsockname()[1]))
    assert done.exit_code == 2
    assert "cannot be listened at" in done.output


def test_the_browser_is_led_to_it_by_a_file_that_others_cannot_read_and_it_serves_until_ctrl_c(
    run: Path, tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" > {tmp_path}/asked\nls -l "${{1#file://}}" > {tmp_path}/mode\n'
        f'cp "${{1#file://}}" {tmp_path}/way\n'
    )
    browser.chmod(0o755)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "BROWSER": f"{browser} %s"}
    command = [sys.executable, "-W", "error", "-m", "holdfast.cli", "look", str(run), "--text", "the"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        until = time.monotonic() + 30
        while not (tmp_path / "way").exists() or not (tmp_path / "way").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        with urllib.request.urlopen(address) as answer:
            assert "<title>" in answer.read().decode()
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.2", int(address.split(":")[2].split("/")[0])))  # another address of this machine
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        code = process.wait(20)
    assert "Traceback" not in rest
    assert code in (0, 130)
    assert address not in (tmp_path / "asked").read_text()
    assert (tmp_path / "mode").read_text().startswith("-rw-------")
    assert address in (tmp_path / "way").read_text()
