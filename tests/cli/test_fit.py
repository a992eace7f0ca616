"""How a task's options become flags."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from holdfast.cli.commands import commands


@pytest.fixture(scope="module")
def shown() -> str:
    found = CliRunner().invoke(commands, ["fit", "forecast", "--help"], env={"TERM": "dumb"})
    assert found.exit_code == 0
    return " ".join(found.output.split())


@pytest.mark.parametrize(
    ("flag", "metavar", "default"),
    [
        ("--season", "N,N,…", "none"),
        ("--intervals", "N,N,…", "50 80 90"),
        ("--past", "NAME,NAME,…", "none"),
        ("--future", "NAME,NAME,…", "none"),
        ("--target", "NAME", "none"),
        ("--horizon", "N", "0"),
        ("--dropout", "X", "0.3"),
        ("--likelihood", "quantiles|student-t|negative-binomial", "quantiles"),
    ],
)
def test_the_help_says_what_a_flag_takes_and_its_default(flag: str, metavar: str, default: str, shown: str) -> None:
    assert re.findall(rf" {flag} (\S+) [^\[]*\[default: (.*?)\]", shown) == [(metavar, default)]


def test_flags_of_several_values_reach_the_run(tmp_path: Path) -> None:
    draw, t = np.random.default_rng(0), np.arange(120)
    table = pd.DataFrame({"ds": t, "y": t % 7 + draw.normal(size=120), "rain": t % 3, "is holiday": t % 5})
    table.to_csv(tmp_path / "table.csv", index=False)
    flags = [
        "--past",
        "rain,is holiday",
        "--season",
        "7,14",
        "--intervals",
        "60",
        "--model",
        "patches",
        "--base",
        "last",
    ]
    small = ["--horizon", "4", "--steps", "1", "--hidden", "4", "--batch-size", "8", "--evaluations", "1", "--quiet"]
    command = ["fit", "forecast", tmp_path / "table.csv", "--out", tmp_path / "run", *flags, *small]
    found = CliRunner().invoke(commands, list(map(str, command)))
    assert found.exit_code == 0, found.output
    options = tomllib.loads((tmp_path / "run" / "config.toml").read_text())["options"]
    assert options["past"] == ["rain", "is holiday"]
    assert options["season"] == [7, 14]
    assert options["intervals"] == [60]
    assert options["future"] == []
