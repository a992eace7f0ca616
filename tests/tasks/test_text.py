"""Language models from data to a model that is used, in Python."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
from holdfast.data import DataError
from holdfast.models import NGram
from holdfast.tasks.text import Text, TextRun, fit
from holdfast.training import DamagedFile, OptionError, RunError, make

TINY: dict[str, Any] = {"hidden": 8, "embedding": 6, "batch_size": 4, "window": 12, "evaluations": 2}
LINES = "the cat sat on the mat\nthe rat sat on the cat\nthe bat sat on the rat\n"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "book.txt"
    path.write_text(LINES * 40)
    return path


@pytest.fixture(scope="module")
def run(book: Path, tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return fit(book, out=folder, steps=150, learning_rate=0.02, dropout=0.0, weight_drop=0.0, **TINY)


def test_a_model_learns_and_is_measured_beside_baselines(run: TextRun) -> None:
    result = run.evaluate()
    assert result.split == "valid"
    assert result.measures["nats"] < 0.7 * result.baselines["unigram"]["nats"]
    assert result.measures["tokens"] == len(LINES) * 4 - 1
    assert result.measures["perplexity"] == pytest.approx(math.exp(result.measures["nats"]))
    assert result.measures["bits_per_char"] == pytest.approx(result.measures["nats"] / math.log(2))


def test_the_measure_is_the_mean_loss_of_each_token_given_all_before(run: TextRun, tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("the mat sat on the cat\nthe dog")
    ids = torch.from_numpy(np.asarray(run.encoding.encode(path.read_text()))).long()
    with torch.no_grad():
        output = run.model(ids[:-1, None])
        expected = -run.model.log_probabilities(output.features)[range(len(ids) - 1), 0, ids[1:]].mean()
    found = run.evaluate([str(path)], baselines=False)
    assert found.split == "given"
    assert found.measures["nats"] == pytest.approx(expected.item(), rel=1e-5)
    assert found.baselines == {}


def test_long_work_is_told_of(run: TextRun, book: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where nothing has been encoded
    told: list[str] = []
    run.evaluate([str(book)], told=told.append)
    size = len(LINES) * 40
    for what in (f"reading {book}", "counting", "collecting the vocabulary", "encoding train", "encoding valid"):
        assert what in told
    assert f"measuring: 0% of {size:,} tokens" in told
    assert told[-1] == "measuring the baselines"


def test_baselines_learn_from_the_training_part_alone(run: TextRun, book: Path) -> None:
    text = book.read_text()
    cut = int(0.9 * len(text))
    train, valid = (np.asarray(run.encoding.encode(part)) for part in (text[:cut], text[cut:]))
    expected = NGram(1, run.encoding.size).fit(train).nats(valid)[1:].mean()
    assert run.evaluate().baselines["unigram"]["nats"] == pytest.approx(expected)


def test_a_line_s_score_is_that_of_the_line_alone(run: TextRun) -> None:
    lines = ["the cat", "", "zz", "the cat sat on the mat"] * 10
    found = list(run.score(lines))
    for line, (nats, count) in zip(lines[:4], found):
        ids = torch.from_numpy(np.asarray(run.encoding.encode(f"\n{line}\n"))).long()[:, None]
        with torch.no_grad():
            expected = run.model.loss(run.model(ids[:-1]).features, ids[1:]).sum().item()
        assert count == len(line) + 1
        assert nats == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert [nats for nats, _ in found] == pytest.approx([nats for nats, _ in found[:4]] * 10, rel=1e-5)


def test_a_loaded_run_is_the_one_that_was_trained(run: TextRun) -> None:
    again = holdfast.load(run.folder)
    assert isinstance(again, TextRun)
    assert again.generate("the ", length=30, seed=4) == run.generate("the ", length=30, seed=4)
    assert len(set(run.generate("the ", length=30, count=3))) > 1


@pytest.mark.parametrize("level", ["byte", "bpe", "word"])
@pytest.mark.parametrize("cell", ["gru", "slstm"])
def test_every_level_and_cell_goes_the_whole_way(level: str, cell: str, book: Path, tmp_path: Path) -> None:
    options = {**TINY, "vocabulary": 300 if level == "bpe" else 0, "layers": 2, "tied": True}
    made = fit(book, out=tmp_path / "run", steps=3, level=level, cell=cell, **options)
    result = made.evaluate()
    assert 0 < result.measures["bits_per_char"] < 12
    assert made.generate("the cat", length=4)[0]
    assert (made.folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("preset", Text.presets)
def test_a_preset_is_a_set_of_known_options(preset: str) -> None:
    options = make(Text.options, Text.presets[preset])
    assert all(getattr(options, name) == value for name, value in Text.presets[preset].items())


def test_the_awd_preset_trains(book: Path, tmp_path: Path) -> None:
    made = fit(book, out=tmp_path / "run", preset="awd", steps=3, **TINY)
    assert made.config["options"]["weight_drop"] == 0.5
    assert made.config["options"]["hidden"] == 8  # what is given goes before a preset
    assert made.model.tied


def test_files_for_validation_and_test_are_kept_apart(book: Path, tmp_path: Path) -> None:
    valid, test = tmp_path / "valid.txt", tmp_path / "test.txt"
    valid.write_text("the cat\n" * 30)
    test.write_text("the rat\n" * 50)
    made = fit(book, out=tmp_path / "run", valid=[valid], test=[test], steps=2, **TINY)
    assert made.evaluate(split="valid").measures["tokens"] == 8 * 30 - 1
    assert made.evaluate().split == "test"
    assert made.evaluate().measures["tokens"] == 8 * 50 - 1
    assert holdfast.tasks.text.Text().describe(made.data())["train tokens"] == len(book.read_text())


def test_data_that_changed_are_noticed(book: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(book.read_text())
    made = fit(path, out=tmp_path / "run", steps=1, **TINY)
    path.write_text(book.read_text() + "more\n")
    with pytest.raises(RunError, match="the data have changed since the run began"):
        made.evaluate()
    given = made.evaluate([str(path)])
    assert given.baselines == {}
    assert "the baselines are left out, the training data cannot be read" in given.notes[0]


@pytest.mark.parametrize("length", [100, 300, 1000])
def test_a_short_text_is_trained_on(length: int, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text((LINES * 20)[:length])
    fit(path, out=tmp_path / "run", steps=4, hidden=4, embedding=3)


def test_a_text_of_a_few_characters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text(LINES[:70])
    with pytest.raises(DataError, match=r"the text has 62 tokens, .* need 64: give more text, or a smaller batch_size"):
        fit(path, out=tmp_path / "run", steps=1, hidden=4)
    assert not (tmp_path / "run").exists()


def test_a_model_file_of_another_run_is_refused(run: TextRun, book: Path, tmp_path: Path) -> None:
    other = fit(book, out=tmp_path / "run", steps=1, **{**TINY, "hidden": 9})
    (other.folder / "model.safetensors").write_bytes((run.folder / "model.safetensors").read_bytes())
    with pytest.raises(DamagedFile, match="does not fit the run's configuration"):
        holdfast.load(other.folder)


def test_a_keyword_that_is_none_is_refused(book: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no option 'hiden'; did you mean hidden"):
        fit(book, out=tmp_path / "run", hiden=3)
    assert not (tmp_path / "run").exists()
