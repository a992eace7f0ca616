"""Training a task into a run's folder, going on with one, and using what came out."""

from __future__ import annotations

import os
import platform
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.data import Told, UnknownCharset, known_charset, reading_as, untold, within
from holdfast.data.delimited import listed
from holdfast.microscope.subject import Subject
from holdfast.naming import nearest
from holdfast.training import (
    CONFIG,
    DATA,
    MODEL,
    DamagedFile,
    Devices,
    Diverged,
    Interrupted,
    Nowhere,
    OptionError,
    Plan,
    Quiet,
    Run,
    RunError,
    Speed,
    Training,
    Watcher,
    devices,
    largest,
    make,
    options_of,
    usable,
    write_atomically,
)

from .advice import advice
from .caching import cache
from .figures import shown
from .report import write_report
from .task import Result, Sources, Task

VERSION = version("holdfast")
_START = f"{DATA}/start"  # in a run's folder: the run whose model it began with
_INSIDE = "run:"  # before a path in the run's own folder
_BUILTIN = "builtin:"  # before the name of data that come with a package


class Fitted:
    """A run that has a model.

    Args:
        task: the task.
        run: the folder.
        device: where the model is to be: cpu, cuda, cuda:1, …; auto: a GPU if there is one.

    Attributes:
        model: the best model, in evaluation mode.
        facts: what belongs to it.
        options: what it was trained with.
    """

    def __init__(self, task: Task[Any, Any], run: Run, device: str = "cpu") -> None:
        self.task, self.run = task, run
        self.device = usable(device)
        self.config = run.config()
        self.options = make(task.options, self.config["options"])
        tensors, saved = run.model()
        if saved.get("task") != task.name:
            raise DamagedFile(f"{run.folder / MODEL} is the model of another task than config.toml says")
        self.facts: Mapping[str, Any] = saved["facts"]
        self.saved = saved
        with torch.random.fork_rng([]):  # the weights that it starts from are not kept
            self.model = task.build(self.facts, self.options)
        _fill(self.model, tensors, run)
        self.model.to(self.device).eval()

    @property
    def folder(self) -> Path:
        """Where the run is."""
        return self.run.folder

    def data(self, told: Told = untold) -> Any:
        """What it was trained on, read again.

        Raises:
            RunError: it has changed since, or the run was not made here and names files outside of its folder.
        """
        return _data(self.task, self.run, self.config, self.options, told)

    def subject(self, text: str = "", data: Sequence[str | Path] = (), steps: int = 0) -> Subject:
        """The model and an input, as the microscope looks at them.

        Raises:
            RunError: runs of this task cannot be looked at.
        """
        raise RunError(f"a run of the task {self.task.name} cannot be looked at")

    def evaluate(
        self,
        data: str | Path | Sequence[str | Path] = (),
        split: str = "",
        baselines: bool = True,
        told: Told = untold,
    ) -> Result:
        """Measure the model.

        Args:
            data: files, globs, folders or URLs to measure it on; empty: the run's own.
            split: "valid" or "test", of the run's own; empty: the test part if there is one.
            baselines: whether to measure the baselines too, which are trained on the run's data.
            told: who is told what is being done.
        """
        paths = paths_of(data)
        training, notes = None, []
        if baselines or not paths:
            try:
                training = self.data(told)
            except (OSError, ValueError) as error:
                if not paths:
                    raise
                notes.append(f"the baselines are left out, the training data cannot be read: {error}")
        judged = self.task.given(self.facts, paths, told) if paths else training
        known = self.task.splits(judged)
        part = "given" if paths else split or ("test" if "test" in known else "valid")
        if paths and split:
            raise RunError("a split is a part of the run's own data, and other data were given")
        if part not in known:
            raise RunError(f"the run has no {part} part; it has {', '.join(known)}")
        measures = self.task.evaluate(self.model, self.facts, judged, part, self.options, told)
        notes += self.task.notes(judged, part, self.options)
        compared: Mapping[str, Mapping[str, float]] = {}
        if baselines and training is not None:
            told("measuring the baselines")
            found = self.task.baselines(training, judged, part, self.options)
            compared = found.measures
            notes += found.notes
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
    with devices(options) as place, _own_randomness(place), decoding(options):
        if place.first:
            _check(out)
        Run.check_packages(options)
        sources = task.prepare(sources, options, place, watcher)
        data = task.read(sources, options, watcher.busy)
        counted = bool(options.steps)
        options = _planned(task, data, task.settle(data, options, place), place, watcher)
        options, settled = task.choose(data, options, place, watcher.busy)
        kept = replace(sources, start=(str(out / _START),)) if sources.start else sources
        config: dict[str, Any] = {
            "task": task.name,
            "data": {name: [_from_anywhere(p, out) for p in paths] for name, paths in asdict(kept).items() if paths},
        }
        config["options"] = {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(options).items()}
        config["data"]["digest"] = task.describe(data)["digest"]
        if settled:
            config["settled"] = settled
        training = _training(task, options, data, place, watcher)
        task.start(training.model, data)
        training.problem.epoch(0)  # an error of the data or of the options leaves no folder
        run = Run.create(out, config) if place.first else Run(out)
        if sources.start and place.first:
            Run.open(Path(sources.start[0]).expanduser()).copy_model(out / _START)
        if place.first:
            task.retain(data, options, out)
        return _train(task, run, training, data, minutes=0.0 if counted else options.minutes)


def resume(
    task: Task[Any, Any], folder: Path, watcher: Watcher | None = None, trust_paths: bool = False
) -> Result | None:
    """Go on with a run from its latest checkpoint, as if it had never stopped.

    Args:
        task: the run's.
        folder: the run's.
        watcher: who is told what happens.
        trust_paths: whether files that it names may be opened although it was not made here.

    Raises:
        RunError: there is no run, its data have changed, or it was not made here.
        DamagedFile: its checkpoint is not as it was written.
    """
    run = Run.open(folder, trust_paths)
    config = run.config()
    options = make(task.options, config["options"])
    watcher = watcher or Quiet()
    with devices(options) as place, _own_randomness(place):
        data = _data(task, run, config, options, watcher.busy)
        return _train(task, run, _training(task, options, data, place, watcher), data, run.latest())


def _planned(task: Task[Any, Any], data: Any, options: Any, place: Devices, watcher: Watcher) -> Any:
    """The options with the size of the model and the numbers of steps and evaluations, where the minutes choose them.

    What is measured for that is another model: the one that is trained is the same as if the user had named them all.
    """
    if options.steps:
        return options if options.hidden else replace(options, hidden=task.options.sizes[-1])
    limit = 60 * options.minutes

    def measured(units: int, needed: int) -> Speed:
        watcher.busy(f"measuring how long a step of {units:,} units takes")
        model = task.typical(replace(options, hidden=units))
        return _training(task, model, data, place, watcher).speed(needed)

    units, speed, spent = largest([options.hidden] if options.hidden else task.options.sizes, measured, limit)
    plan = Plan.of(speed, limit, options.evaluations, spent)
    return replace(options, hidden=units, steps=plan.steps, evaluations=plan.evaluations)


def _training(task: Task[Any, Any], options: Any, data: Any, place: Devices, watcher: Watcher) -> Training:
    """A training at its beginning, which is kept nowhere yet."""
    torch.manual_seed(options.seed)
    try:
        model = task.build(task.facts(data, options), options).to(place.device)
    except ValueError as error:
        raise OptionError(f"there is no such model: {_first_line(error)}") from None
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise OptionError("a model of this size does not fit into the memory") from None
    torch.manual_seed(options.seed + 1 + place.rank)  # masks differ between processes, weights do not
    return Training(task.problem(data, options, place), model, options, place, Nowhere(), watcher)


def _train(
    task: Task[Any, Any],
    run: Run,
    training: Training,
    data: Any,
    checkpoint: tuple[dict[str, Tensor], dict[str, Any]] | None = None,
    minutes: float = 0.0,
) -> Result | None:
    """Train into a run's folder; the first process tells what came out."""
    first, options = training.place.first, training.options
    run.facts = {"task": task.name, "facts": task.facts(data, options), "version": VERSION}
    with run.in_use() if first else nullcontext():
        if first:
            training.keeper = run
        if checkpoint is not None:
            training.restore(*checkpoint)
        if not first:
            training.run()
            return None
        run.rewind(training.position.step)
        if training.options.tensorboard:
            run.write_events(training.position.step)
        try:
            training.run()
        except (Interrupted, Diverged):
            run.close()
            if (run.folder / MODEL).is_file():
                _finish_early(task, run, data)
            raise
        finally:
            run.close()
        seconds = max(training.position.seconds, 60 * minutes)
        return _finish(task, run, data, training.watcher.busy, seconds) if (run.folder / MODEL).is_file() else None


@contextmanager
def _own_randomness(place: Devices) -> Iterator[None]:
    """Leave the caller's random numbers as they are."""
    with torch.random.fork_rng([place.device] if place.device.type == "cuda" else []):
        yield


def _finish_early(task: Task[Any, Any], run: Run, data: Any) -> None:
    """Write what there is of a training that was stopped or given up, at once: whoever stopped it waits."""
    fitted: Fitted = task.fitted(task, run)
    notes = ["The training did not come to its end: nothing was compared, and nothing tried out."]
    write_report(fitted, data, None, notes)
    write_atomically(run.folder / "README.md", _card(fitted, data, {}))


def _finish(task: Task[Any, Any], run: Run, data: Any, told: Told, seconds: float) -> Result:
    """Write the report and the model card; what the best model is worth on the validation data it was chosen by."""
    fitted: Fitted = task.fitted(task, run)
    told("measuring the baselines")
    compared = task.baselines(data, data, "valid", fitted.options, brief=True)
    notes = [*task.notes(data, "valid", fitted.options, brief=True), *compared.notes]
    standings = task.standings(fitted.saved["valid"], compared.measures)
    said = advice(task.objective, run.metrics(), standings, seconds)
    told("writing the report")
    write_report(fitted, data, compared, [*notes, said] if said else notes)
    write_atomically(run.folder / "README.md", _card(fitted, data, compared.measures))
    return Result(task.name, "valid", fitted.saved["valid"], compared.measures, notes, said)


def _card(fitted: Fitted, data: Any, baselines: Mapping[str, Mapping[str, float]]) -> str:
    """The model card."""
    task, config = fitted.task, fitted.config
    about = task.describe(data)
    rows = [("this model, best on validation data", fitted.saved["valid"]), *baselines.items()]
    names = list(fitted.saved["valid"])
    table = [f"| | {' | '.join(map(_plain, names))} |", f"|---|{'---|' * len(names)}"]
    table += [f"| {_plain(who)} | {' | '.join(shown(m.get(n)) for n in names)} |" for who, m in rows]
    parameters = sum(p.numel() for p in fitted.model.parameters())
    lines = [
        f"# A {task.name} model",
        "",
        f"{task.summary} Step {fitted.saved['step']:,} was the best of a training like",
        "",
        *_fenced("sh", _command(task, config)),
        "",
        "## On validation data",
        "",
        *table,
        "",
        "## Data",
        "",
        *(f"- {_plain(name)}: {f'{v:,}' if isinstance(v, int) else _plain(str(v))}" for name, v in about.items()),
        "",
        "## Versions",
        "",
        f"holdfast {VERSION}, PyTorch {torch.__version__}, Python {platform.python_version()}; "
        f"{parameters:,} parameters; the options are in config.toml.",
        "",
        "## Use",
        "",
        *_fenced("python", f"import holdfast\n\nrun = holdfast.load({str(fitted.folder)!r})\nrun.evaluate()"),
        "",
    ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    r"""Text of the data as Markdown shows it for itself: no markup, no HTML, no line of its own.

    >>> print(_plain("<script>, [a](b) and *c*"))
    &lt;script&gt;, \[a\](b) and \*c\*
    """
    return re.sub(r"([\\`*\[\]|])", r"\\\1", escape(" ".join(text.split()), quote=False))


def _fenced(language: str, code: str) -> list[str]:
    """Code in a fence that is longer than any in it."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", code))])
    return [f"{fence}{language}", *code.split("\n"), fence]


def _command(task: Task[Any, Any], config: Mapping[str, Any]) -> str:
    """The command line that makes such a run: the data, and every option that is not as by default."""
    words = ["holdfast", "fit", config["task"], *config["data"].get("data", [])]
    for name in ("valid", "test"):
        for path in config["data"].get(name, []):
            words += [f"--{name}", path]
    for option in options_of(task.options):
        value = config["options"].get(option.name, option.default)
        if option.type is tuple:
            value = tuple(value)
        if value != option.default:
            said = ",".join(map(str, value)) if option.type is tuple else value
            words += ["--set", f"{option.name}={said}"]
    return shlex.join([*words, "--out", "RUN"])


def paths_of(data: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """One path or several, as strings.

    >>> paths_of("book.txt"), paths_of(["a.txt", Path("b.txt")])
    (('book.txt',), ('a.txt', 'b.txt'))
    """
    return tuple(map(str, [data] if isinstance(data, (str, Path)) else data))


def _from_anywhere(path: str, run: Path) -> str:
    """A path as it is called from any folder; a URL as it is; what lies in the run's folder may move with it."""
    if "://" in path or "::" in path or path.startswith(_BUILTIN):
        return path
    whole, inside = Path(os.path.abspath(os.path.expanduser(path))), Path(os.path.abspath(run))
    return f"{_INSIDE}{whole.relative_to(inside).as_posix()}" if whole.is_relative_to(inside) else str(whole)


def _check(out: Path) -> None:
    """Refuse a folder now that could not be written to after the data were read."""
    if re.match(r"\w+:/", str(out)):
        raise RunError(f"a run's folder must be a local one; got {out}")
    try:
        str(out).encode()
    except UnicodeEncodeError:
        raise RunError(f"the name {os.fsencode(out)!r} of the run's folder is not UTF-8 text") from None
    Run.check_free(out)
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"{out} cannot be made: {there} {'cannot be written to' if there.is_dir() else 'is a file'}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _preset(task: Task[Any, Any], name: str) -> Mapping[str, Any]:
    if not name:
        return {}
    if name not in task.presets:
        known = ", ".join(task.presets)
        raise OptionError(
            f"there is no preset {name!r} for {task.name}; known: {known}{nearest(name, list(task.presets))}"
        )
    return task.presets[name].options


def _sources(run: Run, config: Mapping[str, Any]) -> Sources:
    """Where the data of a run are.

    Raises:
        RunError: outside of its folder, and the run was not made here.
    """
    known = config["data"]

    def found(path: str) -> str:
        return str(run.folder / path.removeprefix(_INSIDE)) if path.startswith(_INSIDE) else path

    parts = {name: known.get(name, []) for name in ("data", "valid", "test", "start")}
    for name, paths in parts.items():
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise RunError(f"{run.folder / CONFIG}: {name} in [data] must be a list of paths; got {paths!r}")
    named = [path for paths in parts.values() for path in paths]
    outside = [path for path in named if not path.startswith(_BUILTIN) and not _lies_inside(run, path)]
    if outside and not run.may_open(known):
        raise RunError(
            f"{run.folder} was not made here, or has been moved or copied: the data that it names are read again only "
            f"with --trust-paths (in Python, trust_paths=True). It names {listed(outside, 3)}"
        )
    return Sources(**{name: tuple(map(found, paths)) for name, paths in parts.items()})


def _lies_inside(run: Run, path: str) -> bool:
    """Whether a path is one in the run's own folder, links followed."""
    folder = os.path.realpath(run.folder)
    return path.startswith(_INSIDE) and os.path.realpath(os.path.join(folder, path.removeprefix(_INSIDE))).startswith(
        os.path.join(folder, "")
    )


def _data(task: Task[Any, Any], run: Run, config: Mapping[str, Any], options: Any, told: Told) -> Any:
    sources = _sources(run, config)
    own = run.may_open(config["data"])
    # A table may name further files; what holdfast makes itself lies in the cache.
    with nullcontext() if own else within(run.folder, cache(".")), decoding(options):
        data = task.read(sources, options, told)
    digest = task.describe(data)["digest"]
    if digest != config["data"].get("digest"):
        raise RunError("the data have changed since the run began: their digest is another")
    return data


@contextmanager
def decoding(options: Any) -> Iterator[None]:
    """Read text files as the options say.

    Raises:
        OptionError: there is no such encoding.
    """
    try:
        name = known_charset(options.encoding)
    except UnknownCharset as error:
        raise OptionError(str(error)) from None
    with reading_as(name):
        yield


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], run: Run) -> None:
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()  # the one before says only that there is one
        raise DamagedFile(f"{run.folder / 'model.safetensors'} does not fit the run's configuration: {first}") from None
