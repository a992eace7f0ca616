"""Marks for torch.compile that do not import it.

`torch.compiler.assume_constant_result` and `torch.compiler.disable` import the whole compiler where they decorate. That
takes as long as importing torch itself, and few programs compile anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch._compile import _disable_dynamo

F = TypeVar("F", bound=Callable[..., Any])


def constant(function: F) -> F:
    """The result is a constant to torch.compile, which has guards of its own for what it depends on."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def opaque(function: F) -> F:
    """Torch.compile does not look into the function: it leaves it to eager mode, or raises."""
    found: F = _disable_dynamo(function)  # type: ignore[assignment]
    return found
