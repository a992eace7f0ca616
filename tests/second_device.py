"""A second device that is no more than a name: its tensors lie on the CPU, and refuse to meet those that did not move.

Where there is no GPU it shows what a GPU would: whether each tensor that a model reads was moved to it, and whether
what comes back was moved before NumPy saw it. PyTorch's name for it is that of a backend of which its wheels have the
name alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "lazy:0"
DEVICE = torch.device(NAME)
_MOVES = ("aten::_to_copy", "aten::copy_")


class OnIt(Tensor):
    """A tensor of the second device."""

    inside: Tensor

    @staticmethod
    def __new__(cls, inside: Tensor) -> Self:
        found = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inside.shape,
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=DEVICE,
        )
        found.inside = inside
        return cast(Self, found)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnIt({self.inside!r})"

    def tolist(self) -> Any:
        """As of any device."""
        return self.detach().cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Of no device but the CPU, unless it is forced."""
        if not force:
            raise TypeError(f"can't convert a tensor of {NAME} to numpy: use Tensor.cpu() first")
        return self.detach().cpu().numpy()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Values of Python's go there by way of the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


@contextmanager
def second_device() -> Iterator[None]:
    """For the time being the second device is there."""
    with _Functions(), _Dispatch():
        yield


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    there = any(isinstance(one, OnIt) for one in tensors)
    elsewhere = any(one.dim() and not isinstance(one, OnIt) for one in tensors)
    if there and elsewhere and name not in _MOVES and not name.startswith("aten::index"):
        raise RuntimeError(f"Expected all tensors to be on the same device, {NAME} and cpu met in {name}")
    target = kwargs.get("device")
    to_it = there if target is None else torch.device(target).type == DEVICE.type
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = func(*tree_map(_inside, args), **tree_map(_inside, kwargs))
    if name.endswith("_") and tensors:  # in place
        return args[0]
    return tree_map(lambda one: OnIt(one) if isinstance(one, Tensor) else one, found) if to_it else found


def _inside(one: Any) -> Any:
    return one.inside if isinstance(one, OnIt) else one
