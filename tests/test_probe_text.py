"""The example that probes a character model: its signals, and the whole way on a small run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import torch
from examples.probe_text import in_capitalised_word, inside_quotes, position_in_line, recordings

from holdfast.models import LanguageModel
from holdfast.tasks.text import fit

ROOT = Path(__file__).parents[1]


def marked(text: str, signal: torch.Tensor) -> str:
    return "".join(letter if on else "." for letter, on in zip(text, signal.tolist(), strict=True))


def test_a_quote_is_inside_from_its_opening_to_its_end_or_that_of_the_paragraph() -> None:
    text = "He: “no,\nno” he “said\n\nand” so “on"
    found = [piece for piece in marked(text, inside_quotes(text)).split(".") if piece]
    assert found == ["“no,\nno", "“said", "“on"]


def test_the_position_counts_the_characters_of_the_line_that_have_been_read() -> None:
    assert position_in_line("ab\n\ncde f\ng").tolist() == [1, 2, 0, 0, 1, 2, 3, 4, 5, 0, 1]


def test_a_capitalised_word_is_marked_as_a_whole() -> None:
    text = "An old Élan, I said: McNab 7b"
    assert marked(text, in_capitalised_word(text)) == "An.....Élan..........McNab..."


def test_the_state_goes_on_from_part_to_part() -> None:
    model, ids = LanguageModel(vocabulary=7, embedding=3, hidden=4).eval(), torch.randint(7, (4500,))
    seen = torch.cat([part["layers.0.l0"].states["h"] for part in recordings(model, ids)])
    with torch.no_grad():
        assert torch.allclose(seen, model(ids[:, None]).raw, atol=1e-5)


def test_the_script_finds_units_and_draws_them(tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text(
        "He said “yes, I do” to her\nand “no” to me.\n\nThe cat sat on “the” mat\n\n" * 400, encoding="utf-8"
    )
    run = fit(text, out=tmp_path / "run", steps=3, hidden=8, embedding=4, batch_size=4, window=16)
    command = [sys.executable, str(ROOT / "examples" / "probe_text.py"), str(run.folder), "--steps", "2500"]
    command += ["--picture", str(tmp_path / "quotes.svg")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["signal", "series", "unit", "sign", "measure", "chosen", "score", "untrained"]
    assert len(lines) == 3 * 6  # signals × gates and states
    assert all(0 <= float(line.split()[-2]) <= 1 for line in lines if " AUC " in line)
    picture = ElementTree.fromstring((tmp_path / "quotes.svg").read_text(encoding="utf-8"))
    shown = "".join(picture.itertext())
    assert "inside quotes" in shown
    assert "The cat sat on “the” mat" in shown


def test_a_run_on_other_tokens_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("the cat sat on the mat\n" * 40)
    run = fit(text, out=tmp_path / "run", steps=1, hidden=8, embedding=4, batch_size=4, window=8, level="byte")
    command = [sys.executable, str(ROOT / "examples" / "probe_text.py"), str(run.folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "the run must be one on characters" in done.stderr
