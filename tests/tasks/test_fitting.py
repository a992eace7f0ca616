"""What is the same for every task: beginning a run, going on with it, using it; tried on language models."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import holdfast
from holdfast.cli.commands import commands
from holdfast.extras import MissingExtra
from holdfast.tasks import Result, resume, text
from holdfast.training import DamagedFile, OptionError, Run, RunError

TINY: dict[str, Any] = {"steps": 12, "hidden": 8, "embedding": 6, "batch_size": 4, "window": 12, "evaluations": 2}


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "book.txt"
    path.write_text("the cat sat on the mat\nthe rat sat on the cat\n" * 40)
    return path


@pytest.fixture(scope="module")
def made(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text.fit(book, out=tmp_path_factory.mktemp("runs") / "run", **TINY).folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Run.open(made).copied_to(tmp_path / "run").folder


def test_a_run_can_be_used_from_another_folder(book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(book.parent)
    text.fit(book.name, out=tmp_path / "run", **TINY)
    monkeypatch.chdir(tmp_path)
    assert Run.open(Path("run")).config()["data"]["data"] == [str(book)]
    assert holdfast.load("run").evaluate().baselines
    assert holdfast.load("run").evaluate([book]).baselines


def test_a_url_and_the_text_of_python_are_kept_as_they_are(tmp_path: Path) -> None:
    run = text.fit(out=tmp_path / "run", **{**TINY, "steps": 1, "evaluation_tokens": 100})
    assert "data" not in run.config["data"]
    (tmp_path / "a.txt").write_text("to be or not to be\n" * 30)
    url = f"file://{tmp_path}/a.txt"
    assert text.fit(url, out=tmp_path / "other", **TINY).config["data"]["data"] == [url]


def test_the_folder_may_be_in_the_home(book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert text.fit(book, out="~/run", **TINY).folder == tmp_path / "run"


def test_one_path_is_as_good_as_a_list(made: Path, book: Path) -> None:
    found = holdfast.load(made)
    results = [found.evaluate(data, baselines=False) for data in (str(book), book, [str(book)], (book,))]
    assert all(result == results[0] and result.split == "given" for result in results)
    with pytest.raises(RunError, match="a split is a part of the run's own data"):
        found.evaluate(book, split="test")


def test_what_is_infinite_is_null_in_json() -> None:
    result = Result("text", "valid", {"nats": 800.0, "perplexity": math.inf}, {"unigram": {"perplexity": math.nan}})
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["baselines"] == {"unigram": {"perplexity": None}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 10**12}, "a model of this size does not fit into the memory"),
        ({"device": "meta"}, "device 'meta' cannot be used here"),
        ({"tied": True, "embedding": 0}, "embedding must be at least 1"),
    ],
)
def test_options_that_cannot_be_leave_no_folder(
    options: dict[str, Any], message: str, book: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        text.fit(book, out=tmp_path / "run", **{**TINY, **options})
    assert not (tmp_path / "run").exists()


def test_a_package_that_is_missing_leaves_no_folder(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra, match="tensorboard"):
        text.fit(book, out=tmp_path / "run", tensorboard=True, **TINY)
    assert not (tmp_path / "run").exists()


def test_a_folder_must_be_a_local_one_that_can_be_made(book: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a run's folder must be a local one; got s3:/bucket/run"):
        text.fit(book, out="s3://bucket/run", **TINY)
    with pytest.raises(RunError, match=rf"{book}/run cannot be made: {book} is a file"):
        text.fit(book, out=book / "run", **TINY)


def test_the_callers_random_numbers_are_left_alone(book: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    text.fit(book, out=tmp_path / "run", **TINY)
    assert torch.equal(torch.rand(2), expected)


def test_a_run_that_is_at_its_end_stays_as_it_is_when_resumed(run: Path) -> None:
    before = {name: (run / name).read_bytes() for name in ("metrics.jsonl", "model.safetensors", "config.toml")}
    result = resume(text.Text(), run)
    assert result is not None
    assert result.measures == holdfast.load(run).saved["valid"]
    assert {name: (run / name).read_bytes() for name in before} == before


def test_a_run_goes_on_for_as_many_steps_as_its_configuration_says_now(run: Path) -> None:
    path = run / "config.toml"
    path.write_text(path.read_text().replace("steps = 12", "steps = 15"))
    resume(text.Text(), run)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 15


def test_a_configuration_that_no_longer_fits_is_refused_in_one_line(run: Path) -> None:
    path = run / "config.toml"
    path.write_text(path.read_text().replace("hidden = 8", "hidden = 9"))
    for use in (lambda: resume(text.Text(), run), lambda: holdfast.load(run)):
        with pytest.raises(DamagedFile, match=r"does not fit the run's configuration") as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ['task = "text"', 'task = "text"\noptions = 3\n[data]', "task = 3"])
def test_a_configuration_that_is_not_a_runs_is_refused(content: str, run: Path) -> None:
    (run / "config.toml").write_text(content)
    with pytest.raises(RunError, match=r"config\.toml is not that of a run: \w+ is missing, or is not what it must be"):
        holdfast.load(run)


def test_a_checkpoint_is_not_taken_for_a_model(run: Path) -> None:
    shutil.copy(max((run / "checkpoints").glob("*.safetensors")), run / "model.safetensors")
    with pytest.raises(DamagedFile, match="another file of holdfast's, not a run's best model"):
        holdfast.load(run)


def test_the_model_card_has_the_command_that_makes_the_same_model(run: Path, tmp_path: Path) -> None:
    card = (run / "README.md").read_text()
    command = shlex.split(card.split("```sh\n")[1].split("\n```")[0].replace("RUN", str(tmp_path / "again")))
    done = CliRunner().invoke(commands, [*command[1:], "--quiet"])
    assert done.exit_code == 0, done.output
    losses = [[line["loss"] for line in Run(folder).metrics()] for folder in (run, tmp_path / "again")]
    assert losses[0] == losses[1]
