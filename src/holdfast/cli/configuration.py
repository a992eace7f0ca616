"""The file that `fit --config` takes: TOML with options, and with data; a run's own config.toml is one."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from holdfast.naming import nearest
from holdfast.tasks import Sources
from holdfast.training import OptionError
from holdfast.training.options import field_name

PARTS = ("data", "valid", "test")
KNOWN = (*PARTS, "digest")  # a run's own says of what data it was made


def read_configuration(path: Path, task: str) -> tuple[dict[str, Any], Sources]:
    """The options, by the names of their fields, and the data that a file names.

    Raises:
        OptionError: it is not such a file, or one of another task.
        OSError: it cannot be read.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not TOML: {error}") from None
    other = found.pop("task", task)
    if other != task:
        raise OptionError(f"{path} is of the task {other!r}, not {task}")
    data, options = _table(path, found, "data"), _table(path, found, "options")
    for name in data:
        if name not in KNOWN:
            raise OptionError(f"{path}: there is no {name!r} in [data]{nearest(name, PARTS)}")
    given = {field_name(name): value for name, value in {**found, **options}.items()}  # they need no table of their own
    return given, Sources(*(_paths(path, name, data.get(name, [])) for name in PARTS))


def _table(path: Path, found: dict[str, Any], name: str) -> dict[str, Any]:
    """A table that is taken out of the file."""
    table = found.pop(name, {})
    if not isinstance(table, dict):
        raise OptionError(f"{path}: {name} must be a table, [{name}]; got {table!r}")
    return table


def _paths(path: Path, name: str, given: Any) -> tuple[str, ...]:
    """One path or several."""
    paths = [given] if isinstance(given, str) else given
    if not isinstance(paths, list) or not all(isinstance(one, str) for one in paths):
        raise OptionError(f"{path}: {name} in [data] must be a path, or a list of paths; got {given!r}")
    return tuple(paths)
