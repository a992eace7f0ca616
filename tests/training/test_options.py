"""Options: from strings, from TOML and from Python, with one set of rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from holdfast.training import OptionError, TrainingOptions, assignments, make, option, options_of


@dataclass(frozen=True, kw_only=True)
class _Options(TrainingOptions):
    size: int = option(3, "A size.", least=1)
    share: float = option(0.5, "A share.", least=0.0, most=1.0)
    kind: Literal["apple", "pear"] = option("apple", "A kind.")
    fast: bool = option(False, "A switch.")
    sizes: tuple[int, ...] = option((1, 2), "Several.", least=1)
    names: tuple[str, ...] = option((), "Several names.")


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("size", "12", 12),
        ("size", 12, 12),
        ("size", "1e3", 1000),
        ("share", "0.25", 0.25),
        ("share", 1, 1.0),
        ("kind", "pear", "pear"),
        ("fast", "yes", True),
        ("fast", "false", False),
        ("fast", True, True),
        ("sizes", "4, 5", (4, 5)),
        ("sizes", [6], (6,)),
        ("sizes", 6, (6,)),
        ("sizes", "", ()),
        ("names", "price", ("price",)),
        ("names", " price , is holiday,", ("price", "is holiday")),
        ("names", ["a, b", "c"], ("a, b", "c")),
        ("names", ("a",), ("a",)),
        ("names", "", ()),
        ("names", 7, ("7",)),
        ("learning-rate", "0.1", 0.1),
    ],
)
def test_a_value_is_read_by_its_type(name: str, given: Any, value: Any) -> None:
    found = getattr(make(_Options, {name: given}), name.replace("-", "_"))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("sise", 1, "there is no option 'sise'; did you mean size?"),
        ("size", "much", "size must be a whole number; got 'much'"),
        ("size", 1.5, "size must be a whole number; got 1.5"),
        ("size", True, "size must be a whole number; got True"),
        ("size", 0, "size must be at least 1; got 0"),
        ("share", "nan", "share must be a number; got 'nan'"),
        ("share", 2, "share must be from 0 to 1; got 2"),
        ("kind", "peer", "kind must be one of apple, pear; got 'peer'; did you mean pear?"),
        ("fast", "maybe", "fast must be true or false; got 'maybe'"),
        ("sizes", "1 x", "sizes must be a whole number; got 'x'"),
        ("sizes", [1, "a b"], "sizes must be a whole number; got 'a b'"),
        ("names", [True], "names must be text; got True"),
        ("names", {"a": 1}, "names must be text; got {'a': 1}"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name: str, given: Any, message: str) -> None:
    with pytest.raises(OptionError) as error:
        make(_Options, {name: given})
    assert str(error.value) == message


def test_steps_or_minutes_must_be_given() -> None:
    with pytest.raises(OptionError, match="give steps or minutes: both are 0"):
        make(_Options, {"steps": 0, "minutes": 0})


def test_an_assignment_names_a_field_however_it_is_spelled() -> None:
    assert assignments(["learning-rate=1", " learning_rate = 2"]) == {"learning_rate": "2"}


def test_an_assignment_needs_its_sign() -> None:
    assert assignments(["a = b=c"]) == {"a": "b=c"}
    with pytest.raises(OptionError, match="--set takes key=value; got 'hidden'"):
        assignments(["hidden"])


def test_every_option_has_help_that_is_a_sentence() -> None:
    for found in options_of(_Options):
        assert found.help.endswith("."), found.name
        assert found.flag.startswith("--")
