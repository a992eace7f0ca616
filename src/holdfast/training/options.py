"""Options as one typed dataclass: flags, `--set`, TOML, help texts and Python keywords are all derived from it.

A field is declared with `option`; its type is int, float, bool, str, a Literal of strings, or a tuple of ints or of
strings. A task's options inherit from `TrainingOptions`, which the loop reads.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any, ClassVar, Literal, TypeVar

from holdfast.naming import nearest

from .budget import ENOUGH_STEPS

T = TypeVar("T")


class OptionError(ValueError):
    """An option that does not exist, or a value it cannot have."""


def option(default: Any, help: str, *, least: float | None = None, most: float | None = None) -> Any:
    """A field of an options dataclass.

    Args:
        default: its value where none is given.
        help: what it does, for `--help` and for the documentation; the unit with it.
        least, most: the bounds of a number.
    """
    return dataclasses.field(default=default, metadata={"help": help, "least": least, "most": most})


def size(help: str, sizes: Sequence[int]) -> Any:
    """The field `hidden` of an options dataclass, where 0 leaves the size to the minutes.

    >>> size("Units of a layer", (64, 128, 256)).metadata["help"]
    'Units of a layer; 0: 64, 128 or 256, the largest that gets 2,500 steps in the minutes; with steps the last.'

    Args:
        help: what it counts, without a full stop.
        sizes: those that are tried, the smallest first; the class attribute `sizes` of the dataclass.
    """
    *smaller, last = map(str, sizes)
    ladder = f"{', '.join(smaller)} or {last}"
    return option(
        0,
        f"{help}; 0: {ladder}, the largest that gets {ENOUGH_STEPS:,} steps in the minutes; with steps the last.",
        least=0,
    )


def redeclared(name: str, default: Any, of: Any = None) -> Any:
    """An option with another default.

    >>> redeclared("steps", 5).default
    5

    Args:
        name: the option's.
        default: the other one.
        of: the dataclass that declares it; by default `TrainingOptions`.
    """
    field = (of or TrainingOptions).__dataclass_fields__[name]
    return dataclasses.field(default=default, metadata=field.metadata)


@dataclass(frozen=True)
class Option:
    """A field as the command line and the documentation see it.

    Attributes:
        name: the field's, with underscores.
        type: int, float, bool, str, or tuple for several values.
        each: of a tuple, the type of one of them.
        default: its default.
        help: what it does.
        choices: the values that a string can have; empty if any.
        least, most: the bounds of a number.
    """

    name: str
    type: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    each: Any = int

    @property
    def flag(self) -> str:
        """Its name on the command line; one that Python reserves ends in an underscore as a field."""
        return "--" + self.name.rstrip("_").replace("_", "-")


def options_of(cls: type) -> list[Option]:
    """The options that a dataclass declares, in order.

    >>> [o.flag for o in options_of(TrainingOptions)][:3]
    ['--steps', '--minutes', '--epochs']
    """
    hints = typing.get_type_hints(cls)
    found = []
    for field in dataclasses.fields(cls):
        hint, choices, each = hints[field.name], (), int
        if typing.get_origin(hint) is Literal:
            hint, choices = str, typing.get_args(hint)
        elif typing.get_origin(hint) is tuple:
            hint, each = tuple, typing.get_args(hint)[0]
        meta = field.metadata
        bounds = meta["least"], meta["most"]
        found.append(Option(field.name, hint, field.default, meta["help"], choices, *bounds, each))
    return found


def field_name(name: str) -> str:
    """An option's name as its field has it, from how a person has spelled it.

    >>> field_name("learning-rate")
    'learning_rate'
    """
    found = name.strip().replace("-", "_")
    return f"{found}_" if iskeyword(found) else found


def make(cls: type[T], given: Mapping[str, Any]) -> T:
    """An options dataclass from values by name, each a value of its type or a string that says it.

    >>> make(TrainingOptions, {"steps": "100", "clip": 0.5}).steps
    100

    Raises:
        OptionError: a name is not known, or a value does not fit; the message says which and what fits.
    """
    known = {o.name: o for o in options_of(cls)}
    values = {}
    for name, value in given.items():
        key = field_name(name)
        if key not in known:
            raise OptionError(f"there is no option {name!r}{nearest(key, list(known))}")
        values[key] = _value(known[key], value)
    return cls(**values)


def assignments(pairs: Sequence[str]) -> dict[str, str]:
    """What `--set key=value` was given, several times, by the names of the fields.

    >>> assignments(["hidden=512", "batch-size=8"])
    {'hidden': '512', 'batch_size': '8'}
    """
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise OptionError(f"--set takes key=value; got {pair!r}")
        found[field_name(name)] = value.strip()
    return found


def _value(option: Option, given: Any) -> Any:
    """A value of an option's type."""
    if option.type is tuple:
        parts = _parts(given, option.each) if isinstance(given, str) else given
        parts = parts if isinstance(parts, (list, tuple)) else [parts]
        return tuple(_value(dataclasses.replace(option, type=option.each), part) for part in parts)
    try:
        value = _parsed(option.type, given)
    except ValueError:
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise OptionError(f"{option.name} must be {kinds[option.type]}; got {given!r}") from None
    if option.choices and value not in option.choices:
        raise OptionError(
            f"{option.name} must be one of {', '.join(option.choices)}; got {value!r}{nearest(value, option.choices)}"
        )
    if (option.least is not None and value < option.least) or (option.most is not None and value > option.most):
        raise OptionError(f"{option.name} must be {_bounds(option)}; got {value:g}")
    return value


def _parts(given: str, kind: type) -> list[str]:
    """What stands between commas, or of numbers between spaces too."""
    if kind is int:
        return given.replace(",", " ").split()
    return [part.strip() for part in given.split(",") if part.strip()]


def _bounds(option: Option) -> str:
    if option.most is None:
        return f"at least {option.least:g}"
    return f"at most {option.most:g}" if option.least is None else f"from {option.least:g} to {option.most:g}"


def _parsed(kind: type, given: Any) -> Any:
    """A value of a kind, from one or from a string; ValueError if it is none."""
    if kind is bool:
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        found = given if isinstance(given, bool) else words.get(str(given).lower())
        if found is None:
            raise ValueError
        return found
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        raise ValueError
    if kind is str:
        return str(given)
    number = float(given)
    if not math.isfinite(number) or (kind is int and number != int(number)):
        raise ValueError
    return (
        kind(given) if isinstance(given, str) and kind is int and given.strip().lstrip("+-").isdigit() else kind(number)
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How long, how fast and by which rule a model is trained; what is the same for every task.

    Attributes:
        sizes: what `hidden` can be where it is left at 0, the smallest first; none without such an option.
    """

    sizes: ClassVar[tuple[int, ...]] = ()

    steps: int = option(0, "Optimiser steps; 0: as many as fit into the minutes.", least=0)
    minutes: float = option(
        10.0,
        "Minutes of training, where no steps are given: a step is timed first, which fixes their number.",
        least=0.0,
    )
    epochs: int = option(0, "Passes over the data at most, where no steps are given; 0: any number.", least=0)
    seed: int = option(0, "Of the weights, the masks and the order of the data.", least=0, most=2**32 - 1)
    batch_size: int = option(64, "Sequences of a batch, for each process.", least=1)
    accumulate: int = option(1, "Batches whose gradients make one step.", least=1)
    optimiser: Literal["adamw", "sgd"] = option("adamw", "AdamW, or SGD with momentum.")
    learning_rate: float = option(0.002, "The highest learning rate.", least=0.0)
    momentum: float = option(0.0, "Of SGD.", least=0.0, most=1.0)
    weight_decay: float = option(0.0, "Decay of matrices (not of biases and gains), for each step.", least=0.0)
    schedule: Literal["cosine", "plateau", "constant"] = option(
        "cosine", "How the learning rate falls: along a cosine, at every evaluation without progress, or not at all."
    )
    warm_up: int = option(50, "Steps over which the learning rate rises from 0; a tenth of all at most.", least=0)
    floor: float = option(0.02, "The lowest learning rate, as a share of the highest.", least=0.0, most=1.0)
    clip: float = option(1.0, "Bound on the norm of the gradient; 0: none.", least=0.0)
    average: float = option(
        0.0,
        "Share of each step in a running average of the weights, which is then what is evaluated; 0: none.",
        least=0.0,
        most=1.0,
    )
    patience: int = option(0, "Stop after so many evaluations without progress; 0: never.", least=0)
    evaluations: int = option(
        20,
        "Evaluations on validation data over the whole run; fewer where they would take a fifth of the minutes.",
        least=1,
    )
    checkpoint_every: int = option(0, "Steps between checkpoints; 0: about a minute.", least=0)
    precision: Literal["float32", "bfloat16"] = option("float32", "Of autocast; the weights are in float32.")
    device: str = option("auto", "cpu, cuda, cuda:1, …; auto: a GPU if there is one.")
    encoding: str = option("", "Of text files that are not UTF-8: cp1252, latin-1, utf-16, shift_jis, ….")
    tensorboard: bool = option(False, "Write TensorBoard events too (needs holdfast[tensorboard]).")

    def __post_init__(self) -> None:
        if not self.steps and not self.minutes:
            raise OptionError("give steps or minutes: both are 0")
