"""The Python of README runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import holdfast
from tests.reports import reports

BLOCKS = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "block.py"  # a file, because errors and names come from source lines
    file.write_text(block, encoding="utf-8")
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.GRU(3, 4))
    names = {"model": model, "__name__": "readme"}
    exec(compile(block, str(file), "exec"), names)
    if "convert" in block:
        assert isinstance(model[1], holdfast.GRU)
    else:
        assert names["output"].shape == (7, 3, 40)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "page",
    [
        f"docs/{name}.md"
        for name in ("chat", "classification", "forecasting", "look", "microscope", "music", "speech", "translation")
    ],
)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", Path(page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, object] = {"__name__": "page"}
    monkeypatch.chdir(tmp_path)  # some write files
    monkeypatch.setattr("holdfast.tasks.transcription.baselines._LEARNED", 20)
    with reports("report" in "".join(blocks)):
        for block in blocks:
            exec(compile(block, page, "exec"), names)


def test_every_file_that_readme_and_docs_link_to_is_there() -> None:
    for page in (Path("README.md"), *Path("docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page} links to {target}"
