"""The wheel: what it is called, what is in it, and what it says of itself."""

from __future__ import annotations

import configparser
import email
import email.message
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import holdfast

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
INFO = f"holdfast-{holdfast.__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (built,) = folder.iterdir()
    assert built.name == f"holdfast-{holdfast.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(built) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    return email.message_from_bytes(wheel.read(f"{INFO}/METADATA"))


def test_it_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = {path.relative_to(SOURCE).as_posix() for path in (SOURCE / "holdfast").rglob("*.py")}
    found = {name for name in wheel.namelist() if not name.startswith(f"{INFO}/")}
    page = {path.relative_to(SOURCE).as_posix() for path in (SOURCE / "holdfast/serving/page").iterdir()}
    assert found == expected | page | {"holdfast/py.typed"}
    assert len(expected) > 30
    assert {path.rpartition(".")[2] for path in page} == {"html", "css", "js"}


def test_each_file_is_the_one_in_the_source(wheel: zipfile.ZipFile) -> None:
    for name in wheel.namelist():
        if not name.startswith(f"{INFO}/"):
            assert wheel.read(name) == (SOURCE / name).read_bytes(), name


def test_it_is_pure_python(wheel: zipfile.ZipFile) -> None:
    text = wheel.read(f"{INFO}/WHEEL").decode()
    assert "Root-Is-Purelib: true" in text
    assert "Tag: py3-none-any" in text


def test_the_version_is_the_packages(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "holdfast"
    assert metadata["Version"] == holdfast.__version__


def test_it_needs_these_and_no_more(metadata: email.message.Message) -> None:
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    always = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    assert sorted(r.name for r in always) == ["llvmlite", "numpy", "rich", "torch", "typer"]
    assert all(r.marker is None and r.specifier for r in always)
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_licence_comes_with_it(wheel: zipfile.ZipFile, metadata: email.message.Message) -> None:
    assert metadata["License-Expression"] == "MIT"
    assert wheel.read(f"{INFO}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_it_installs_the_command(wheel: zipfile.ZipFile) -> None:
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(f"{INFO}/entry_points.txt").decode())
    assert {section: dict(parser[section]) for section in parser.sections()} == {
        "console_scripts": {"holdfast": "holdfast.cli:app"}
    }
