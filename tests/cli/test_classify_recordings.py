"""Classes of recordings, through the real entry point: the tones of two keys."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import holdfast as package
from holdfast.data.audio import Mel, sound
from holdfast.tasks import opened

from ..data.audio.helpers import tone, written
from .test_text import invoked

TINY = ["--steps", "40", "--hidden", "8", "--batch-size", "8", "--evaluations", "1", "--learning-rate", "0.01"]


def _recordings(folder: Path, count: int, seed: int, rate: int = 8000) -> dict[str, str]:
    """Of each path within the folder its class: tones of some length and level, under noise."""
    draw = np.random.default_rng(seed)
    found = {}
    for k in range(count):
        name = ("low", "high")[k % 2]
        samples = tone((440, 1500)[k % 2], draw.uniform(0.1, 0.3), rate, draw.uniform(0.1, 0.8))
        written(folder / name / f"{k}.wav", samples + draw.normal(0, 0.01, len(samples)), rate)
        found[f"{name}/{k}.wav"] = name
    return found


def _manifest(path: Path, names: dict[str, str], labels: bool = True) -> Path:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "digit"] if labels else ["path"])
        rows.writerows([name, label] if labels else [name] for name, label in names.items())
    return path


def _fitted(*given: str | Path) -> None:
    done = invoked("fit", "classify", *given, *TINY, "--quiet")
    assert done.exit_code == 0, done.output


def _said(*given: str | Path) -> list[str]:
    done = invoked("classify", *given)
    assert done.exit_code == 0, done.output
    return [row["prediction"] for row in csv.DictReader(io.StringIO(done.stdout))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    _manifest(folder / "train.csv", _recordings(folder, 40, seed=0))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    _fitted(folder / "train.csv", "--audio", "path", "--label", "digit", "--out", run)
    return run


def test_recordings_that_a_table_lists_are_learned_and_told_apart(run: Path, tmp_path: Path) -> None:
    names = _recordings(tmp_path, 12, seed=1, rate=16000)
    expected = [*names.values()]
    assert _said(run, _manifest(tmp_path / "new.csv", names, labels=False)) == expected
    assert _said(run, *(tmp_path / name for name in names)) == expected
    assert _said(run, tmp_path) == ["high"] * 6 + ["low"] * 6


def test_a_run_reads_recordings_as_it_learned_to(run: Path, tmp_path: Path) -> None:
    (name,) = _recordings(tmp_path, 1, seed=1, rate=16000)
    found = opened(run)
    mel = Mel(**found.facts["reading"]["reading"]["mel"])
    assert mel == Mel(8000)
    frames = mel(torch.from_numpy(sound(str(tmp_path / name), mel.rate))).numpy()
    done = invoked("classify", run, tmp_path / name, "--json")
    expected = package.load(run).predict_proba([frames])[0]
    assert json.loads(done.stdout)["p_low"] == pytest.approx(expected[1], abs=1e-4)


def test_folders_of_classes_are_learned_and_measured(folder: Path, tmp_path: Path) -> None:
    _recordings(tmp_path / "new", 12, seed=2)
    _fitted(folder, "--out", tmp_path / "run")
    done = invoked("evaluate", tmp_path / "run", tmp_path / "new", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["accuracy"] == 1.0
    manifest = _manifest(tmp_path / "new" / "list.csv", {"low/0.wav": "low", "high/1.wav": "high"}, labels=False)
    assert _said(tmp_path / "run", manifest) == ["low", "high"]


def test_recordings_that_are_not_there_are_named_all_at_once(run: Path, folder: Path, tmp_path: Path) -> None:
    names = {"no.wav": "low", str(folder / "low/0.wav"): "low", "nor.wav": "high"}
    manifest = _manifest(tmp_path / "holes.csv", names)
    said = (
        f"holdfast: 2 recordings are not there: {tmp_path}/no.wav ({manifest}, line 2); {tmp_path}/nor.wav "
        f"({manifest}, line 4); --skip-bad does without them\n"
    )
    done = invoked("classify", run, manifest)
    assert (done.exit_code, done.stderr) == (2, said)
    done = invoked("fit", "classify", manifest, "--audio", "path", "--label", "digit", "--out", tmp_path / "other")
    assert (done.exit_code, done.stderr) == (2, said)
    done = invoked("classify", run, manifest, "--skip-bad")
    found = [*csv.DictReader(io.StringIO(done.stdout))]
    assert [row["prediction"] for row in found] == ["", "low", ""]
    assert found[2]["fault"] == f"there is no recording '{tmp_path}/nor.wav'"


def test_a_run_of_something_else_is_not_given_recordings(run: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "a fine film,good\na dull film,bad\n" * 10)
    _fitted(tmp_path / "a.csv", "--out", tmp_path / "run")
    done = invoked("classify", tmp_path / "run", folder / "low/0.wav")
    assert f"{folder}/low/0.wav: a recording, but the model learned from none; --skip-bad leaves" in done.stderr
    done = invoked("classify", run, tmp_path / "a.csv", "--text", "text")
    assert "name a column of texts, one that tells series apart, or one of recordings; got" in done.stderr
