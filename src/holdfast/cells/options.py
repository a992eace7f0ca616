"""What the cells' options accept: activations by name, and switches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from holdfast.language import hard_sigmoid, relu, sigmoid, softplus, tanh


def identity(x: Any) -> Any:
    """x itself."""
    return x


ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "tanh": tanh,
    "relu": relu,
    "identity": identity,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "softplus": softplus,
}
GATE_ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {"sigmoid": sigmoid, "hard_sigmoid": hard_sigmoid}


def checked(argument: str, given: object, accepted: Mapping[str, object]) -> str:
    """The name of an activation, if it is one.

    >>> checked("activation", "tanh", ACTIVATIONS)
    'tanh'
    """
    if not isinstance(given, str) or given not in accepted:
        raise ValueError(f"{argument} must be one of {', '.join(accepted)}; got {given!r}")
    return given


def flag(argument: str, given: object) -> bool:
    """A switch, if it is one.

    >>> flag("peephole", True)
    True
    """
    if not isinstance(given, bool):
        raise TypeError(f"{argument} should be of type bool, got: {type(given).__name__}")
    return given
