import io
import math

import pytest
from rich.console import Console

from holdfast.cli.curves import bar, curves_table
from holdfast.lab.demo import Contest, Settings, run
from holdfast.lab.lesson import Lesson


@pytest.fixture(scope="module")
def contest() -> Contest:
    return run(Settings(lag=4, hidden_size=3, lesson=Lesson(steps=40, batch_size=5, evaluate_every=1)))


@pytest.mark.parametrize(
    ("error", "length"), [(5.0, 20), (1.0, 20), (0.1, 15), (0.001, 5), (1e-4, 0), (1e-9, 0), (0.0, 0), (math.inf, 20)]
)
def test_a_bar_is_as_long_as_the_logarithm_of_the_error(error: float, length: int) -> None:
    assert bar(error) == "█" * length
    assert bar(error, ascii_only=True) == "#" * length


def test_an_error_that_is_no_number_has_no_bar() -> None:
    assert bar(math.nan) == ""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_table_has_a_dozen_rows_from_the_start_to_the_end(contest: Contest, encoding: str) -> None:
    written = io.BytesIO()
    console = Console(file=io.TextIOWrapper(written, encoding=encoding), width=80)
    console.print(curves_table(contest, ascii_only=console.options.ascii_only))
    console.file.flush()
    lines = written.getvalue().decode(encoding).splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.replace("|", " ").split() for line in lines if line.strip(" |")[:1].isdigit()]
    assert len(rows) == 11
    assert rows[0][:2] == ["0", f"{contest.lstm.curve[0].error:.4f}"]
    assert rows[-1][:2] == ["200", f"{contest.lstm.error:.4f}"]
    assert f"{contest.rnn.error:.4f}" in rows[-1]
