"""The command that translates, in this process and in a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast.cli.commands import commands
from holdfast.tasks import opened
from tests.cli.test_text import ENTRY, ENVIRONMENT, invoked
from tests.support import own_cache
from tests.tasks.translation.phrases import phrases, write

TINY = ["--steps", "300", "--hidden", "32", "--embedding", "16", "--layers", "1", "--batch-size", "16"]
MORE = [
    "--level",
    "word",
    "--learning-rate",
    "0.02",
    "--dropout",
    "0",
    "--average",
    "0.05",
    "--smoothing",
    "0",
    "--json",
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        own_cache(patch, tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write(tmp_path_factory.mktemp("pairs"), "train", phrases(400, 0))


@pytest.fixture(scope="module")
def run(sides: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = invoked("fit", "translate", "--source", sides[0], "--target", sides[1], "--out", folder, *TINY, *MORE)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "a.de"
    path.write_text("eins zwei drei\n\nvier\n", encoding="utf-8")
    return path


def test_each_line_becomes_a_line_and_an_empty_one_stays_empty(run: Path, lines: Path) -> None:
    done = invoked("translate", run, lines)
    assert done.exit_code == 0, done.output
    assert done.stdout == "one two three\n\nfour\n"


def test_standard_input_is_read_where_no_file_is_named(run: Path) -> None:
    done = CliRunner().invoke(commands, ["translate", str(run)], input=b"zwei\r\ndrei")
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == ["two", "three"]


def test_in_a_terminal_each_line_is_translated_before_the_next_is_typed(run: Path) -> None:
    outer, inner = pty.openpty()
    child = subprocess.Popen([*ENTRY, "translate", str(run)], stdin=inner, stdout=inner, stderr=inner, env=ENVIRONMENT)
    os.close(inner)
    try:
        for typed, wanted in ((b"zwei\n", b"two"), (b"drei\n", b"three")):
            os.write(outer, typed)
            shown = b""
            while wanted not in shown:
                assert select.select([outer], [], [], 60)[0], f"{wanted!r} is not there, but {shown!r}"
                shown += os.read(outer, 1024)
        os.write(outer, b"\x04")  # Ctrl-D
        assert child.wait(60) == 0
    finally:
        child.kill()
        child.wait()
        os.close(outer)


def test_scores_come_as_a_table_or_as_json(run: Path, lines: Path, tmp_path: Path) -> None:
    assert invoked("translate", run, lines, "--out", tmp_path / "a.tsv").exit_code == 0
    table = [line.split("\t") for line in (tmp_path / "a.tsv").read_text().splitlines()]
    assert [text for _, text in table] == ["one two three", "", "four"]
    assert float(table[0][0]) < 0
    done = invoked("translate", run, lines, "--n-best", 2, "--json")
    first, second, _ = [json.loads(line) for line in done.stdout.splitlines()]
    assert first["source"] == "eins zwei drei"
    assert (first["text"], len(first["others"])) == ("one two three", 1)
    assert first["others"][0]["score"] < first["score"]
    assert second["text"] == ""


def test_n_best_are_rows_with_their_lines_and_scores(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("eins\n\nzwei drei\n")
    rows = invoked("translate", run, tmp_path / "a.txt", "--n-best", 3).stdout.splitlines()
    assert [row.split("\t")[0] for row in rows] == ["1"] * 3 + ["2"] + ["3"] * 3
    assert all(re.fullmatch(r"\d\t-?\d+\.\d{4}\t.*", row) for row in rows)


def test_words_are_drawn_at_a_temperature(run: Path, lines: Path) -> None:
    same = [invoked("translate", run, lines, "--temperature", 4, "--seed", 1).stdout for _ in range(2)]
    other = invoked("translate", run, lines, "--temperature", 4, "--seed", 2).stdout
    assert same[0] == same[1] != other


def test_the_beam_and_its_penalties_are_heeded(run: Path, lines: Path) -> None:
    scores = [
        json.loads(invoked("translate", run, lines, "--json", *more).stdout.splitlines()[0])["score"]
        for more in ([], ["--length-penalty", "0"], ["--coverage-penalty", "1"])
    ]
    assert len(set(scores)) == 3


def test_a_line_that_is_too_long_is_translated_in_parts_and_said(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("eins\n" + "eins zwei drei vier fünf " * 20)
    done = invoked("translate", run, tmp_path / "a.txt")
    assert len(done.stdout.splitlines()) == 2
    assert re.search(r"a\.txt, line 2: longer than all that was learned from, translated in 20 parts", done.stderr)


def test_it_is_measured_on_other_files_with_its_signature(run: Path, tmp_path: Path) -> None:
    paths = write(tmp_path, "other", phrases(20, 3))
    done = invoked("evaluate", run, *paths, "--json")
    found = json.loads(done.stdout)
    assert found["exact"] > 0.8
    assert "BLEU: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--n-best", "9"], "--n-best 9 needs a beam that is as wide: --beam 9"),
        (["--temperature", "1", "--n-best", "2"], "leave out --n-best"),
        (["--out", "a.csv"], "--out must end in .txt, .tsv or .jsonl; got a.csv"),
        (["--out", "no/such/a.txt"], "there is no folder no/such"),
        (["-"], "- is all that is read"),
        (["--length-penalty", "1e308"], "length_penalty must be a number from 0 to 100"),
        (["--temperature", "inf"], "temperature"),
        (["--seed", "9" * 20], "--seed"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], said: str, run: Path, lines: Path) -> None:
    done = invoked("translate", run, lines, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no"),
        (b"", "is empty"),
        ("größe".encode("latin-1"), "must be UTF-8 text, but line 1 is not: it looks like latin-1"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, said: str, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    done = invoked("translate", run, path)
    assert done.exit_code == 2
    assert "a.txt" in done.stderr
    assert said in done.stderr


def test_sides_that_do_not_go_together_are_refused(sides: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    alone = invoked("fit", "translate", "--source", sides[0], "--out", out)
    assert f"--source and --target go together, but there are 1 and 0 of them: '{sides[0]}'; and none" in alone.stderr
    table = tmp_path / "pairs.tsv"
    table.write_text("source\ttarget\neins\tone\n")
    both = invoked("fit", "translate", "--source", table, "--target", table, "--out", out)
    assert "pairs.tsv is a table, which holds sources and targets: name it without --source and --target" in both.stderr
    valid = ["--valid-target", sides[1]]
    other = invoked("fit", "translate", "--source", sides[0], "--target", sides[1], *valid, "--out", out)
    assert "--valid-source and --valid-target go together" in other.stderr
    short = tmp_path / "short.en"
    short.write_text("one\n")
    parted = invoked("fit", "translate", "--source", sides[0], "--target", short, "--out", out)
    assert "has 400 and" in parted.stderr
    assert "line 2 of" in parted.stderr
    assert {done.exit_code for done in (alone, other, parted)} == {2}
    assert not out.exists()


def test_pairs_may_be_named_by_their_sides_or_one_after_the_other(sides: tuple[Path, Path], tmp_path: Path) -> None:
    quick = ["--steps", "1", "--hidden", "8", "--embedding", "4", "--level", "word", "--json"]
    parts = {"": sides, "valid-": write(tmp_path, "v", phrases(20, 1)), "test-": write(tmp_path, "t", phrases(20, 2))}
    flags = [word for part, (a, b) in parts.items() for word in (f"--{part}source", a, f"--{part}target", b)]
    named = invoked("fit", "translate", *flags, "--out", tmp_path / "a", *quick)
    assert named.exit_code == 0, named.output
    plain = [
        *sides,
        *(word for part in ("valid", "test") for path in parts[f"{part}-"] for word in (f"--{part}", path)),
    ]
    assert invoked("fit", "translate", *plain, "--out", tmp_path / "b", *quick).exit_code == 0
    digests = [re.search(r'digest = "(\w+)"', (tmp_path / name / "config.toml").read_text()) for name in "ab"]
    assert digests[0][1] == digests[1][1]  # type: ignore[index]


def test_globs_stand_for_all_files_of_their_side(sides: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        for path in sides:
            (tmp_path / f"{name}{path.suffix}").write_bytes(path.read_bytes())
    quick = ["--steps", "1", "--hidden", "8", "--embedding", "4", "--level", "word", "--json"]
    flags = ["--source", tmp_path / "*.de", "--target", tmp_path / "*.en", "--out", tmp_path / "run"]
    assert invoked("fit", "translate", *flags, *quick).exit_code == 0
    named = tomllib.loads((tmp_path / "run" / "config.toml").read_text())["data"]["data"]
    assert [Path(path).name for path in named] == ["one.de", "one.en", "two.de", "two.en"]
    (tmp_path / "two.en").unlink()
    fewer = invoked("fit", "translate", *flags)
    assert fewer.exit_code == 2
    assert re.search(r"there are 2 and 1 of them: '.*one.de', '.*two.de'; and '.*one.en'$", fewer.stderr.strip())


def test_flags_of_the_fit_reach_the_run(tmp_path: Path) -> None:
    rows = ["de\ten\n", *(f"{source}\t{target}\n" for source, target in phrases(40, 0)), "eins\t\n"]
    (tmp_path / "a.tsv").write_text("".join(rows), encoding="utf-8")
    read = ["--source-column", "de", "--target-column", "en", "--skip-bad", "--valid-share", "0.25"]
    made = ["--level", "word", "--vocabulary", "6", "--no-shared", "--cell", "gru", "--attention", "additive"]
    tiny = ["--steps", "1", "--hidden", "4", "--embedding", "4", "--quiet"]
    done = invoked("fit", "translate", tmp_path / "a.tsv", "--out", tmp_path / "run", *read, *made, *tiny)
    assert done.exit_code == 0, done.output
    run = opened(tmp_path / "run")
    assert {name: len(part) for name, part in run.data().parts.items()} == {"train": 30, "valid": 10}
    assert [each.size for each in run.encodings] == [6, 6]  # type: ignore[attr-defined]
    assert (run.options.cell, run.options.attention, run.options.shared) == ("gru", "additive", False)


def test_a_run_of_another_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("to be or not to be, " * 50)
    tiny = ["--steps", "1", "--hidden", "8", "--window", "8", "--batch-size", "2", "--json"]
    assert invoked("fit", "text", tmp_path / "a.txt", "--out", tmp_path / "run", *tiny).exit_code == 0
    done = invoked("translate", tmp_path / "run", tmp_path / "a.txt")
    assert done.exit_code == 2
    assert "translate needs a run of the task translate" in done.stderr
