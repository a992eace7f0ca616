"""The Python of docs/clients.md runs, a section at a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SECTIONS = dict(
    re.findall(r"^## (.*?)\n.*?```python\n(.*?)```", Path("docs/clients.md").read_text(encoding="utf-8"), re.M | re.S)
)


def test_there_are_sections_to_run() -> None:
    assert len(SECTIONS) >= 7


@pytest.mark.parametrize("title", SECTIONS)
def test_each_section_runs(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # AOTInductor's writes a file
    exec(compile(SECTIONS[title], title, "exec"), {"__name__": "page"})
