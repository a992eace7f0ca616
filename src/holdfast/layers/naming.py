"""The names of the layers' options: what a class has, what it has not, and what was probably meant."""

from __future__ import annotations

import difflib
import functools
import inspect
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from holdfast.language.errors import suggestion

_NEAR = 0.85  # how alike an attribute's name and an option's are where one is taken for the other


def _is_ours(kind: Any) -> bool:
    return getattr(kind.__init__, "__module__", "").startswith("holdfast.")


@functools.cache
def options_of(layer: Any) -> tuple[str, ...]:
    """The arguments that a layer class takes by name.

    >>> from holdfast.layers import RNNCell
    >>> options_of(RNNCell)[:3], "zoneout" in options_of(RNNCell)
    (('input_size', 'hidden_size', 'bias'), True)

    Args:
        layer: the class; of one that is derived from ours, the options of ours count.
    """
    init: Any = next(kind for kind in layer.__mro__ if "__init__" in vars(kind) and _is_ours(kind)).__init__
    found: list[str] = []
    for name, argument in list(inspect.signature(init).parameters.items())[1:]:
        if argument.kind is inspect.Parameter.VAR_KEYWORD:
            found += typing.get_type_hints(typing.get_args(typing.get_type_hints(init)[name])[0])
        elif not name.startswith("_"):
            found.append(name)
    return tuple(found)


def check_options(root: type, layer: type, given: Iterable[str]) -> None:
    """Refuse arguments that a layer class does not have.

    Args:
        root: the class that all layers are derived from.
        layer: the class; one with an `__init__` that is not ours takes what it likes.
        given: the names of the arguments.

    Raises:
        TypeError: with the name that was probably meant.
    """
    if not _is_ours(layer):
        return
    known = options_of(layer)
    for name in given:
        # A projection is refused in PyTorch's words.
        if name not in known and not name.startswith("_") and not (name == "proj_size" and "num_layers" in known):
            raise TypeError(f"{unknown(root, layer, name)} Its options are: {', '.join(known)}")


def unknown(root: type, layer: type, name: str) -> str:
    """What there is to say of an option that a class does not have."""
    owners = [kind.__name__ for kind in _layers(root) if name in options_of(kind)]
    if owners:
        has = "have" if len(owners) > 1 else "has"
        return f"{layer.__name__} has no option {name!r}, which {', '.join(sorted(owners))} {has}."
    return f"{layer.__name__} has no option {name!r}{suggestion(name, options_of(layer)) or '.'}"


def every_option(root: type) -> set[str]:
    """The options of all layers of ours."""
    return {name for kind in _layers(root) for name in options_of(kind)}


def misspelt(layer: type, name: str) -> bool:
    """Whether an attribute's name is so near to an option's that this must be meant."""
    return bool(difflib.get_close_matches(name, options_of(layer), n=1, cutoff=_NEAR))


def _layers(root: Any) -> Iterator[Any]:
    """Our own classes."""
    for kind in root.__subclasses__():
        if kind.__module__.startswith("holdfast.layers."):
            yield kind
            yield from _layers(kind)
