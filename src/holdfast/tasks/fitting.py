"""Training a task into a run's folder, going on with one, and using what came out."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.data import Told, untold
from holdfast.training import (
    MODEL,
    DamagedFile,
    Devices,
    Nowhere,
    OptionError,
    Quiet,
    Run,
    RunError,
    Training,
    Watcher,
    devices,
    make,
    nearest,
    write_atomically,
)

from .report import write_report
from .task import Result, Sources, Task, shown

VERSION = version("holdfast")


class Fitted:
    """A run that has a model.

    Args:
        task: the task.
        run: the folder.

    Attributes:
        model: the best model, in evaluation mode.
        facts: what belongs to it.
        options: what it was trained with.
    """

    def __init__(self, task: Task[Any, Any], run: Run) -> None:
        self.task, self.run = task, run
        self.config = run.config()
        self.options = make(task.options, self.config["options"])
        tensors, saved = run.model()
        self.facts: Mapping[str, Any] = saved["facts"]
        self.saved = saved
        self.model = task.build(self.facts, self.options)
        _fill(self.model, tensors, run)
        self.model.eval()

    @property
    def folder(self) -> Path:
        """Where the run is."""
        return self.run.folder

    def data(self, told: Told = untold) -> Any:
        """What it was trained on, read again.

        Raises:
            RunError: it has changed since.
        """
        return _data(self.task, self.config, self.options, told)

    def evaluate(
        self, paths: Sequence[str] = (), split: str = "", baselines: bool = True, told: Told = untold
    ) -> Result:
        """Measure the model.

        Args:
            paths: data to measure it on; empty: the run's own.
            split: "valid" or "test", of the run's own; empty: the test part if there is one.
            baselines: whether to measure the baselines too, which are trained on the run's data.
            told: who is told what is being done.
        """
        training, notes = None, []
        if baselines or not paths:
            try:
                training = self.data(told)
            except (OSError, ValueError) as error:
                if not paths:
                    raise
                notes.append(f"the baselines are left out, the training data cannot be read: {error}")
        data = self.task.given(self.facts, paths, told) if paths else training
        known = self.task.splits(data)
        part = "given" if paths else split or ("test" if "test" in known else "valid")
        if part not in known:
            raise RunError(f"the run has no {part} part; it has {', '.join(known)}")
        measures = self.task.evaluate(self.model, self.facts, data, part, self.options, told)
        compared: dict[str, dict[str, float]] = {}
        if baselines and training is not None:
            told("measuring the baselines")
            compared, more = self.task.baselines(training, data, part, self.options)
            notes += more
        return Result(self.task.name, part, measures, compared, notes)


def fit(
    task: Task[Any, Any],
    sources: Sources,
    out: Path,
    given: Mapping[str, Any],
    watcher: Watcher | None = None,
    preset: str = "",
) -> Result | None:
    """Train a task into a new folder; what came out, in the first process.

    Args:
        task: the task.
        sources: its data.
        out: the folder, which is made.
        given: options by name; the others have their defaults.
        watcher: who is told what happens.
        preset: options for a kind of data, which `given` overrides.
    """
    options = make(task.options, {**_preset(task, preset), **given})
    watcher = watcher or Quiet()
    config: dict[str, Any] = {
        "task": task.name,
        "data": {name: list(paths) for name, paths in asdict(sources).items() if paths},
        "options": {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(options).items()},
    }
    with devices(options) as place:
        if place.first:
            _check(out)
        data = task.read(sources, options, watcher.busy)
        config["data"]["digest"] = task.describe(data)["digest"]
        task.problem(data, options, place).epoch(0)  # an error of the data leaves no folder
        run = Run.create(out, config) if place.first else Run(out)
        return _train(task, run, options, data, place, watcher, None)


def resume(task: Task[Any, Any], folder: Path, watcher: Watcher | None = None) -> Result | None:
    """Go on with a run from its latest checkpoint, as if it had never stopped.

    Raises:
        RunError: there is no run, or its data have changed.
        DamagedFile: its checkpoint is not as it was written.
    """
    run = Run.open(folder)
    config = run.config()
    options = make(task.options, config["options"])
    watcher = watcher or Quiet()
    with devices(options) as place:
        data = _data(task, config, options, watcher.busy)
        return _train(task, run, options, data, place, watcher, run.latest())


def _train(
    task: Task[Any, Any],
    run: Run,
    options: Any,
    data: Any,
    place: Devices,
    watcher: Watcher,
    checkpoint: tuple[dict[str, Tensor], dict[str, Any]] | None,
) -> Result | None:
    torch.manual_seed(options.seed)
    facts = task.facts(data)
    model = task.build(facts, options).to(place.device)
    torch.manual_seed(options.seed + 1 + place.rank)  # masks differ between processes, weights do not
    run.facts = {"task": task.name, "facts": facts, "version": VERSION}
    training = Training(task.problem(data, options, place), model, options, place, run, watcher)
    if checkpoint is not None:
        try:
            training.restore(*checkpoint)
        except (KeyError, RuntimeError) as error:
            raise DamagedFile(f"the checkpoint does not fit the run's configuration: {error}") from None
    if not place.first:
        training.keeper = Nowhere()
        training.run()
        return None
    with run.in_use():
        run.rewind(training.position.step)
        if options.tensorboard:
            run.write_events(training.position.step)
        try:
            training.run()
        finally:
            run.close()
            result = _finish(task, run, data, watcher.busy) if (run.folder / MODEL).is_file() else None
    return result


def _finish(task: Task[Any, Any], run: Run, data: Any, told: Told) -> Result:
    """Write the report and the model card; what the best model is worth on the validation data it was chosen by."""
    fitted = Fitted(task, run)
    told("measuring the baselines")
    baselines, notes = task.baselines(data, data, "valid", fitted.options, brief=True)
    told("writing the report")
    write_report(fitted, data, baselines, notes)
    write_atomically(run.folder / "README.md", _card(fitted, data, baselines))
    return Result(task.name, "valid", fitted.saved["valid"], baselines, notes)


def _card(fitted: Fitted, data: Any, baselines: Mapping[str, Mapping[str, float]]) -> str:
    """The model card."""
    task, config = fitted.task, fitted.config
    about = task.describe(data)
    rows = [("this model, best on validation data", fitted.saved["valid"]), *baselines.items()]
    names = list(fitted.saved["valid"])
    table = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    table += [f"| {who} | {' | '.join(shown(m.get(n)) for n in names)} |" for who, m in rows]
    parameters = sum(p.numel() for p in fitted.model.parameters())
    lines = [
        f"# A {task.name} model",
        "",
        f"{task.summary} Trained by `{_command(config, fitted.folder)}`; step {fitted.saved['step']:,} was the best.",
        "",
        "## On validation data",
        "",
        *table,
        "",
        "## Data",
        "",
        *(f"- {name}: {value:,}" if isinstance(value, int) else f"- {name}: {value}" for name, value in about.items()),
        "",
        "## Versions",
        "",
        f"holdfast {VERSION}, PyTorch {torch.__version__}, Python {platform.python_version()}; "
        f"{parameters:,} parameters; the options are in config.toml.",
        "",
        "## Use",
        "",
        "```python",
        "import holdfast",
        "",
        f"run = holdfast.load({str(fitted.folder)!r})",
        "run.evaluate()",
        "```",
        "",
    ]
    return "\n".join(lines)


def _command(config: Mapping[str, Any], folder: Path) -> str:
    """The command line that makes such a run."""
    words = ["holdfast", "fit", config["task"], *config["data"].get("data", [])]
    for name in ("valid", "test"):
        for path in config["data"].get(name, []):
            words += [f"--{name}", path]
    return shlex.join([*words, "--config", str(folder / "config.toml"), "--out", "RUN"])


def _check(out: Path) -> None:
    """Refuse a folder now that could not be written to after the data were read."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        Run.create(out, {})
    nearest_there = next(p for p in (out, *out.absolute().parents) if p.exists())
    probe = nearest_there / f".holdfast-{id(out)}"
    probe.touch()
    probe.unlink()


def _preset(task: Task[Any, Any], name: str) -> Mapping[str, Any]:
    if not name:
        return {}
    if name not in task.presets:
        known = ", ".join(task.presets)
        raise OptionError(
            f"there is no preset {name!r} for {task.name}; known: {known}{nearest(name, list(task.presets))}"
        )
    return task.presets[name]


def _sources(config: Mapping[str, Any]) -> Sources:
    known = config.get("data", {})
    return Sources(**{name: tuple(known.get(name, ())) for name in ("data", "valid", "test")})


def _data(task: Task[Any, Any], config: Mapping[str, Any], options: Any, told: Told) -> Any:
    data = task.read(_sources(config), options, told)
    digest = task.describe(data)["digest"]
    if digest != config["data"].get("digest"):
        raise RunError("the data have changed since the run began: their digest is another")
    return data


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], run: Run) -> None:
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise DamagedFile(f"{run.folder / 'model.safetensors'} does not fit the run's configuration: {first}") from None
