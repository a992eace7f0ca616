"""What holds for each of the eight applications."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

import holdfast
from holdfast.cli.commands import COMMANDS as ALL_COMMANDS
from holdfast.cli.commands import commands
from holdfast.models import Sampling, SequenceModel
from holdfast.serving.view import View
from holdfast.tasks import TASKS, fitting, opened
from holdfast.tasks.fitting import Fitted
from holdfast.training import Devices, Diverged, Interrupted, OptionError, Position, Quiet, Run, make
from tests import applications, second_device
from tests.tasks.composition import tunes

Runs = Callable[[str], Fitted]
every = pytest.mark.parametrize("name", applications.NAMES)


def _given(name: str) -> dict[str, Any]:
    """The options of a tiny run with two evaluations."""
    return {**applications.SHORT, "steps": 4, "evaluations": 2, **applications.APPLICATIONS[name].values}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A tiny run of each application, trained when a test asks for it first."""
    made: dict[str, Fitted] = {}

    def run(name: str) -> Fitted:
        if name not in made:
            made[name] = applications.fitted(name, tmp_path_factory.mktemp(name), _given(name))
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
    small = {key: value for key, value in applications.APPLICATIONS[name].values.items() if key != "hidden"}
    found = []
    for place, given in (("first", {"minutes": 0.01, "batch_size": 4, **small}), ("again", {})):
        (tmp_path / place).mkdir()
        options = given or found[0].config["options"]
        found.append(applications.fitted(name, tmp_path / place, options))
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
    with pytest.raises(Interrupted if what == signal.SIGINT else Diverged):
        applications.fitted(name, tmp_path, _given(name), _At(3, what))
    folder = tmp_path / "run"
    assert "did not come to its end" in (folder / "report.html").read_text()
    assert "step 2" in (folder / "report.html").read_text().lower()
    assert opened(folder).saved["step"] == 2
    assert (folder / "README.md").is_file()


USES: dict[str, Callable[[Any, Path], Any]] = {
    "text": lambda run, _: (run.generate("the ", length=6, count=2), [*run.score(["the cat", "a"])], _looked(run)),
    "forecast": lambda run, data: (
        run.predict().to_numpy(),
        run.backtest(str(data / "sales.csv"), n_windows=2)[0].to_numpy(),
        run.update(_later(data)).predict().to_numpy(),
    ),
    "classify": lambda run, _: run.predict_proba(["a good film", "bad"]),
    "regress": lambda run, _: run.predict(["a good film", "bad"]),
    "transcribe": lambda run, data: run.transcribe(str(data / "tones" / "000.wav")),
    "translate": lambda run, _: (
        run.translate(["eins zwei", "drei"]),
        run.translate(["eins"], sampling=Sampling(), seed=1),
    ),
    "chat": lambda run, _: (run.replies([["Hello !"]]), "".join(run.conversation().say("Hello !"))),
    "compose": lambda run, _: ([one.piece for one in run.compose(1, count=2)], run.harmonise(tunes.tune(1))[0].piece),
}


def _later(data: Path) -> Any:
    table = pd.read_csv(data / "sales.csv", parse_dates=["ds"])
    return table.tail(3).assign(ds=table["ds"].tail(3) + pd.Timedelta(days=3))


def _looked(run: Any) -> Any:
    view = View(run.subject("the cat sat", steps=8))
    return [*view.about()], view.horizon(3)["lags"]


@pytest.mark.sweep(every=2)
@every
def test_a_model_on_another_device_says_the_same(name: str, runs: Runs) -> None:
    folder = runs(name).folder
    found = {}
    for device in ("cpu", second_device.NAME):
        with second_device.second_device():
            run = holdfast.load(folder, device=device)
            model = opened(folder, device).model
            assert {one.device for one in (*model.parameters(), *model.buffers())} == {torch.device(device)}
            measures = opened(folder, device).evaluate(split="valid", baselines=False).measures
            found[device] = measures, USES[name](run, folder.parent / "data")
    for (one, other), off in zip(zip(*found.values()), (0.01, 1e-4)):  # a draw may fall on the other side of a border
        _assert_alike(one, other, off)


def _assert_alike(one: Any, other: Any, off: float) -> None:
    """Equal, but for the last digits of numbers."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = [*one.values()], [*other.values()]
    if isinstance(one, np.ndarray):
        one, other = one.tolist(), other.tolist()
    if isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            _assert_alike(a, b, off)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-3, abs=off, nan_ok=True)
    elif dataclasses.is_dataclass(one):
        _assert_alike(dataclasses.asdict(one), dataclasses.asdict(other), off)  # type: ignore[arg-type]
    else:
        assert one == other


def test_a_stream_of_a_classifier_is_moved_too() -> None:
    model = SequenceModel(outputs=2, channels=3, hidden=5, bidirectional=False).eval()
    x, stream = torch.randn(4, 1, 3), model.stream()
    wanted = [stream.step(row) for row in x]
    with second_device.second_device():
        stream = model.to(second_device.DEVICE).stream()
        found = [stream.step(row).cpu() for row in x]
    for a, b in zip(wanted, found):
        torch.testing.assert_close(a, b)


@every
def test_a_device_that_is_not_there_is_refused(name: str, runs: Runs) -> None:
    with pytest.raises(OptionError, match="device 'meta' cannot be used here"):
        holdfast.load(runs(name).folder, device="meta")
    with pytest.raises(OptionError, match="device 'gpu' cannot be used here"):
        holdfast.load(runs(name).folder, device="gpu")


COMMANDS: dict[str, list[list[str]]] = {
    "text": [["generate"], ["evaluate"], ["look", "--html", "page.html"]],
    "forecast": [["forecast"], ["backtest"], ["detect"], ["evaluate"]],
    "classify": [["classify", "-"], ["evaluate"]],
    "regress": [["regress", "-"], ["evaluate"]],
    "transcribe": [["transcribe", "sound.wav"], ["evaluate"]],
    "translate": [["translate"], ["evaluate"]],
    "chat": [["chat"], ["evaluate"]],
    "compose": [["compose", "--out", "song.mid"], ["evaluate"]],
}


@every
def test_every_command_that_uses_a_model_takes_a_device(
    name: str, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command, *others in COMMANDS[name]:
        done = CliRunner().invoke(commands, [command, str(runs(name).folder), *others, "--device", "gpu"], input="a\n")
        assert done.exit_code == 2, done.output
        assert "device 'gpu' cannot be used here" in done.output
    group = get_command(commands)
    use = {
        name
        for name in ALL_COMMANDS
        for parameter in group.get_command(None, name).params  # type: ignore[attr-defined]
        if (parameter.name, parameter.param_type_name) == ("run", "argument")
    }
    assert {command for some in COMMANDS.values() for command, *_ in some} == use - {"info"}
