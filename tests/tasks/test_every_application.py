"""What holds for each of the eight applications."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.tasks import TASKS, fitting, opened
from holdfast.tasks.fitting import Fitted
from holdfast.training import Devices, Diverged, Interrupted, Position, Quiet, Run, make
from tests.tasks import applications

Runs = Callable[[str], Fitted]
every = pytest.mark.parametrize("name", applications.NAMES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A tiny run of each application, trained when a test asks for it first."""
    made: dict[str, Fitted] = {}

    def run(name: str) -> Fitted:
        if name not in made:
            given = {**applications.SHORT, **applications.SMALL[name]}
            made[name] = applications.fit(name, tmp_path_factory.mktemp(name), given)
        return made[name]

    return run


def test_these_are_all_applications() -> None:
    assert {*applications.NAMES} == {*TASKS}


@every
def test_an_evaluation_twice_gives_the_same_numbers_and_those_of_the_saved_run(name: str, runs: Runs) -> None:
    run = runs(name)
    problem = run.task.problem(run.data(), run.options, Devices(torch.device("cpu")))
    first, second = (repr(dict(problem.evaluate(run.model))) for _ in range(2))  # as text, for a measure may be NaN
    assert first == second == repr(dict(run.saved["valid"]))
    first, second = (repr(dict(run.evaluate(split="valid", baselines=False).measures)) for _ in range(2))
    assert first == second


@pytest.mark.sweep(every=8)
@every
def test_a_run_of_some_minutes_has_a_size_and_steps_and_is_repeated_by_them(name: str, tmp_path: Path) -> None:
    small = {key: value for key, value in applications.SMALL[name].items() if key != "hidden"}
    found = []
    for place, given in (("first", {"minutes": 0.01, **small}), ("again", {})):
        (tmp_path / place).mkdir()
        options = given or found[0].config["options"]
        found.append(applications.fit(name, tmp_path / place, options))
    timed, counted = found
    assert timed.options.hidden in timed.options.sizes
    assert timed.options.steps >= 1
    assert counted.config["options"] == timed.config["options"]
    assert _metrics(counted) == _metrics(timed)
    weights = counted.model.state_dict()
    assert all(torch.equal(t, weights[n]) for n, t in timed.model.state_dict().items())


def _metrics(run: Fitted) -> str:
    return repr(Run(run.folder).metrics())


@every
def test_with_steps_and_no_size_it_is_the_largest_and_nothing_is_measured(name: str) -> None:
    task, place = TASKS[name], Devices(torch.device("cpu"))
    smallest, middle, largest = task.options.sizes
    assert smallest < middle < largest
    planned = fitting._planned(task, None, make(task.options, {"steps": 3}), place, Quiet())
    assert (planned.hidden, planned.steps) == (largest, 3)
    named = make(task.options, {"steps": 3, "hidden": 7})
    assert fitting._planned(task, None, named, place, Quiet()) is named
    assert f"{smallest}, {middle} or {largest}" in task.options.__dataclass_fields__["hidden"].metadata["help"]


class _At(Quiet):
    """Raises something, or a signal, at a step."""

    def __init__(self, step: int, what: Exception | int) -> None:
        self.at, self.what = step, what

    def step(self, position: Position, loss: float, units: int, seconds: float) -> None:
        if position.step == self.at and isinstance(self.what, int):
            signal.raise_signal(self.what)
        elif position.step == self.at:
            raise self.what


@pytest.mark.sweep(every=5)
@every
@pytest.mark.parametrize("what", [signal.SIGINT, Diverged("the loss was not finite")], ids=["stopped", "given up"])
def test_a_run_that_is_cut_short_ends_at_once_with_what_there_is(
    name: str, what: Any, tmp_path: Path, reported: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("nobody waits for this")

    for method in ("baselines", "report"):
        monkeypatch.setattr(type(TASKS[name]), method, never)
    given = {**applications.SHORT, **applications.SMALL[name]}
    with pytest.raises(Interrupted if what == signal.SIGINT else Diverged):
        applications.fit(name, tmp_path, given, _At(3, what))
    folder = tmp_path / "run"
    assert "did not come to its end" in (folder / "report.html").read_text()
    assert "step 2" in (folder / "report.html").read_text().lower()
    assert opened(folder).saved["step"] == 2
    assert (folder / "README.md").is_file()
