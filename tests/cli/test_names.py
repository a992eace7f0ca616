"""Names that people give, to files, folders, classes and columns: what cannot be written down, and what is markup."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from holdfast.training import Run
from tests.applications import APPLICATIONS, NAMES, SMALL, invoked

MARKUP = "<script>alert(1)</script>"


def _in_bytes(path: Path, name: bytes) -> Path:
    """A path whose last part is not UTF-8."""
    return Path(os.fsdecode(os.fsencode(path / "x")[:-1] + name))


def _fit(name: str, given: list[Path | str], out: Path, *more: str) -> tuple[int, str]:
    done = invoked("fit", name, *given, "--out", out, *SMALL, *APPLICATIONS[name].options, *more)
    return done.exit_code, done.stderr


def _renamed(given: list[Path | str], new: Path) -> list[Path | str]:
    """The arguments, with the first file or folder of them under another name."""
    k = next(k for k, one in enumerate(given) if isinstance(one, Path))
    shutil.move(given[k], new)
    return [*given[:k], new, *given[k + 1 :]]


@pytest.mark.sweep(every=4)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_whose_name_is_not_utf_8_is_refused_before_anything_is_made(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    given = [*APPLICATIONS[name].write(tmp_path / "data")]
    last = next(one for one in given if isinstance(one, Path))
    odd = _in_bytes(tmp_path / "data", b"caf\xe9" + os.fsencode(last.suffix))
    code, said = _fit(name, _renamed(given, odd), tmp_path / "run")
    assert (code, len(said.strip().splitlines())) == (2, 1), said
    assert "is not UTF-8 text: rename the file" in said
    assert r"caf\xe9" in said
    assert not (tmp_path / "run").exists()


def test_neither_is_a_folder_for_a_run_nor_a_name_of_a_column(tmp_path: Path) -> None:
    given = [*APPLICATIONS["forecast"].write(tmp_path)]
    out = _in_bytes(tmp_path, b"caf\xe9")
    code, said = _fit("forecast", given, out)
    assert (code, len(said.strip().splitlines())) == (2, 1), said
    assert "is not UTF-8 text" in said
    assert not out.exists()
    code, said = _fit("text", [*APPLICATIONS["text"].write(tmp_path)], tmp_path / "run", "--set", "device=cpu\udce9")
    assert (code, len(said.strip().splitlines())) == (2, 1), said
    assert not (tmp_path / "run").exists()


def _outside_code(card: str) -> str:
    """A model card without what stands between fences."""
    return re.sub(r"^(`{3,})\w*\n.*?^\1$", "", card, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.sweep(every=4)
@pytest.mark.parametrize("name", NAMES)
def test_markup_in_the_name_of_a_file_is_none_in_the_run(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "a ```\n<script>alert(1)<"
    folder.mkdir()
    code, said = _fit(name, [*APPLICATIONS[name].write(folder)], tmp_path / "run")
    assert code == 0, said
    assert "<script" not in _outside_code((tmp_path / "run" / "README.md").read_text())
    assert Run.open(tmp_path / "run").config()["task"] == name


@pytest.mark.usefixtures("reported")
def test_a_class_that_is_markup_is_text_in_the_card_and_the_report(tmp_path: Path) -> None:
    rows = [f'"{text}","{label}"' for text, label in zip(["fine film", "dull film"] * 16, [MARKUP, "[b](x)|*"] * 16)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    code, said = _fit("classify", [tmp_path / "reviews.csv"], tmp_path / "run")
    assert code == 0, said
    card, report = ((tmp_path / "run" / file).read_text() for file in ("README.md", "report.html"))
    assert MARKUP not in card
    assert "&lt;script&gt;" in card
    assert r"\[b\](x)\|\*" in card
    assert MARKUP not in report
