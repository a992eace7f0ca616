"""`holdfast fit`: one command a task, its flags derived from the task's options."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from holdfast.data.delimited import listed
from holdfast.data.pairs import every_file, is_table
from holdfast.tasks import TASKS, Result, Sources, Task, resume, task_of
from holdfast.tasks import fit as fit_task
from holdfast.training import CONFIG, Interrupted, Option, Run, assignments, is_first, options_of

from .configuration import read_configuration
from .errors import Refused, Stopped
from .progress import Bar
from .reading import TRUST_PATHS
from .results import print_result

app = typer.Typer(
    help="Train a model on data.",
    invoke_without_command=True,
    rich_markup_mode=None,
    add_completion=False,
    subcommand_metavar="TASK DATA... --out RUN",
)


@app.callback()
def fit(
    context: typer.Context,
    run: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--resume", metavar="RUN", help="Go on with a run from its latest checkpoint."),
    ] = None,
    trust_paths: Annotated[bool, TRUST_PATHS] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="With --resume: show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --resume: print the result as JSON.")] = False,
) -> None:
    """Train a model on data: `holdfast fit TASK --help` shows what a task takes.

    Exit codes: 0, done; 2, an argument or a file is not as it must be; 3, the training was given up because its loss
    was not finite; 130, stopped by Ctrl-C, after saving.
    """
    if context.invoked_subcommand is not None:
        if run is not None:
            raise typer.BadParameter("--resume goes without a task: holdfast fit --resume RUN")
        return
    if run is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    task = task_of(Run.open(run))
    with _resumable(run), Bar(task.unit, quiet or as_json or not is_first()) as bar:
        result = resume(task, run, bar, trust_paths)
    _show(task, result, run, as_json, quiet)


@dataclass(frozen=True)
class _Shared:
    """What every task's command takes beside the options of the task."""

    data: list[str]
    out: Path
    valid: list[str]
    test: list[str]
    preset: str
    config: Path | None
    assigned: list[str]
    quiet: bool
    as_json: bool


def _fit(task: Task[Any, Any], shared: _Shared, flags: Mapping[str, Any]) -> None:
    configured, known = read_configuration(shared.config, task.name) if shared.config else ({}, Sources())
    sources = Sources(
        tuple(shared.data) or known.data, tuple(shared.valid) or known.valid, tuple(shared.test) or known.test
    )
    given = {**configured, **assignments(shared.assigned), **flags}
    with _resumable(shared.out), Bar(task.unit, shared.quiet or shared.as_json or not is_first()) as bar:
        result = fit_task(task, sources, shared.out, given, bar, shared.preset)
    _show(task, result, shared.out, shared.as_json, shared.quiet)


@contextmanager
def _resumable(run: Path) -> Iterator[None]:
    """Say how a training that was interrupted goes on."""
    try:
        yield
    except Interrupted:
        resuming = shlex.join(["holdfast", "fit", "--resume", str(run)])
        # What is learned before a run is made, a language that a classifier begins with, is kept elsewhere.
        way = resuming if (run / CONFIG).is_file() else "the same command"
        raise Stopped(f"what was learned is saved, and {way} goes on with it") from None


def _show(task: Task[Any, Any], result: Result | None, folder: Path, as_json: bool, quiet: bool) -> None:
    """Say what came out; the first process of several does."""
    if result is None or (quiet and not as_json):
        return
    print_result(result, as_json)
    if not as_json:
        typer.echo(f"The run is {folder}; its report is {folder / 'report.html'}")
        typer.echo(task.use.format(run=folder))
        if result.advice:
            typer.echo(f"Not yet: {result.advice}")


_SHARED: dict[str, tuple[Any, Any]] = {
    "data": (
        Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Argument(metavar="[DATA]...", help="Files, globs, folders or URLs.", show_default=False),
        ],
        None,
    ),
    "out": (
        Annotated[Path, typer.Option("--out", metavar="RUN", help="The folder of the run; it is made.")],
        inspect.Parameter.empty,
    ),
    "valid": (
        Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option("--valid", metavar="FILE", help="Validation data; default: a tenth of the data."),
        ],
        None,
    ),
    "test": (
        Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option("--test", metavar="FILE", help="Test data, which only `evaluate` reads."),
        ],
        None,
    ),
    "preset": (
        Annotated[str, typer.Option("--preset", help="Options for a kind of data, which the help lists above.")],
        "",
    ),
    "config": (
        Annotated[
            Optional[Path],  # noqa: UP045
            typer.Option("--config", metavar="FILE", help="Options from a TOML file; a run's config.toml is one."),
        ],
        None,
    ),
    "assigned": (
        Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option("--set", metavar="KEY=VALUE", help="Any option by name, several times."),
        ],
        None,
    ),
    "quiet": (Annotated[bool, typer.Option("--quiet", help="Show no progress and no result.")], False),
    "as_json": (Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")], False),
}


# Where files come in twos, what names them: the part, the side, and the help.
_SIDES = {
    f"{prefix}{side}": (part, side, f"{said} {side}s, line for line.")
    for part, prefix, said in (
        ("data", "", "A file of"),
        ("valid", "valid_", "For choices: a file of"),
        ("test", "test_", "For `evaluate`: a file of"),
    )
    for side in ("source", "target")
}


def _in_two(given: dict[str, Any]) -> dict[str, list[str]]:
    """The files of each part that are named by their sides, each source before its target; they are taken out.

    A glob or a folder stands for all its files on its side.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name, (part, side, _) in _SIDES.items():
        found.setdefault(part, {})[side] = every_file(given.pop(name) or [])
    for part, sides in found.items():
        for name in filter(is_table, chain(*sides.values())):
            raise Refused(f"{name} is a table, which holds sources and targets: name it without --source and --target")
        if len(sides["source"]) != len(sides["target"]):
            flag = "" if part == "data" else f"{part}-"
            raise Refused(
                f"--{flag}source and --{flag}target go together, but there are {len(sides['source'])} and "
                f"{len(sides['target'])} of them: {listed(sides['source']) or 'none'}; and "
                f"{listed(sides['target']) or 'none'}"
            )
    return {part: [path for both in zip(*sides.values()) for path in both] for part, sides in found.items()}


def _command(task: Task[Any, Any]) -> Callable[..., None]:
    """The function that typer makes a task's command of: its parameters are written from the options."""
    options = options_of(task.options)

    def run(**given: Any) -> None:
        shared = {name: given.pop(name, "") for name in _SHARED}
        lists = {name: shared[name] or [] for name in ("data", "valid", "test", "assigned")}
        if task.in_two:
            for part, paths in _in_two(given).items():
                lists[part] = [*lists[part], *paths]
        flags = {name: value for name, value in given.items() if value is not None}
        _fit(task, _Shared(**{**shared, **lists}), flags)

    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in _SHARED.items()
        if name != "preset" or task.presets
    ]
    if task.in_two:
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=_file(name, help), default=None)
            for name, (_, _, help) in _SIDES.items()
        ]
    parameters += [
        inspect.Parameter(o.name, inspect.Parameter.KEYWORD_ONLY, annotation=_annotation(o), default=None)
        for o in options
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__doc__ = task.summary + _presets(task)
    return run


def _presets(task: Task[Any, Any]) -> str:
    """Paragraphs of the help that say what each preset is for and sets."""
    paragraphs = []
    for name, preset in task.presets.items():
        sets = (f"{key.replace('_', '-')}={str(value).lower()}" for key, value in preset.options.items())
        paragraphs.append(f"\n\nPreset {name}, for {preset.use}: {', '.join(sets)}.")
    return "".join(paragraphs)


def _file(name: str, help: str) -> Any:
    flag = f"--{name.replace('_', '-')}"
    return Annotated[Optional[list[str]], typer.Option(flag, metavar="FILE", help=help)]  # noqa: UP045


def _annotation(option: Option) -> Any:
    default = " ".join(map(str, option.default)) if isinstance(option.default, tuple) else str(option.default)
    help = f"{option.help} [default: {default or 'none'}]"
    if option.type is bool:
        flag = f"{option.flag}/--no-{option.flag.removeprefix('--')}"
        return Annotated[Optional[bool], typer.Option(flag, help=help, show_default=False)]  # noqa: UP045
    kind = str if option.type is tuple else option.type
    several = {int: "N,N,…", str: "NAME,NAME,…"}
    metavar = "|".join(option.choices) or {int: "N", float: "X", str: "NAME", tuple: several[option.each]}[option.type]
    return Annotated[
        Optional[kind],  # noqa: UP045
        typer.Option(option.flag, metavar=metavar, help=help, show_default=False),
    ]


for _task in TASKS.values():
    app.command(_task.name)(_command(_task))
