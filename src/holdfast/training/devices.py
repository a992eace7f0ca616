"""Where a model is trained: one process, or several that torchrun has started, each with its own device."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .options import OptionError, TrainingOptions


class Devices:
    """This process among those that train together.

    Attributes:
        device: where its tensors are.
        rank: its number.
        size: how many there are.
    """

    def __init__(self, device: torch.device, precision: str = "float32", rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = device, rank, size
        self.half = torch.bfloat16 if precision == "bfloat16" else None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The precision of the forward run."""
        if self.half is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.half)

    def wrapped(self, module: nn.Module) -> nn.Module:
        """A module whose gradients are averaged over all processes."""
        if self.size == 1:
            return module
        places = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=places)

    def averaging(self, module: nn.Module, now: bool) -> contextlib.AbstractContextManager[object]:
        """Whether gradients are averaged with each backward run, or only added up in this process for a later one."""
        if now or not isinstance(module, DistributedDataParallel):
            return contextlib.nullcontext()
        return module.no_sync()

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a number over all processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.size
        return value

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, which have one shape, in each of them."""
        if self.size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor.contiguous())
        return found

    def agreed(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def told(self, number: float) -> float:
        """What the first process says."""
        if self.size == 1:
            return number
        value = torch.tensor(number, device=self.device, dtype=torch.float64)
        dist.broadcast(value, 0)
        return value.item()


def is_first() -> bool:
    """Whether this is the process that writes and prints, among those that torchrun has started.

    >>> is_first()
    True
    """
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def devices(options: TrainingOptions) -> Iterator[Devices]:
    """This process's place, for as long as the training lasts.

    >>> with devices(TrainingOptions(device="cpu")) as place:
    ...     place.device.type, place.rank, place.size
    ('cpu', 0, 1)

    Raises:
        OptionError: there is no such device.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = usable(options.device, local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size > 1:
        # DistributedDataParallel imports this module, whose default arguments would then keep the group for ever:
        # its threads would outlive it, and one that still lets go of a tensor while Python ends aborts the process.
        import_module("torch.distributed.nn.functional")
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield Devices(device, options.precision, rank, size)
    # Not after an error: it may be this process's alone, and the others wait elsewhere; torchrun ends them.
    if size > 1:
        dist.barrier()  # nobody leaves while another still reads from it
        dist.destroy_process_group()


def usable(asked: str, local: int = 0) -> torch.device:
    """A device by its name.

    >>> usable("cpu")
    device(type='cpu')

    Args:
        asked: cpu, cuda, cuda:1, …; auto: a GPU if there is one.
        local: which of several GPUs "auto" means.

    Raises:
        OptionError: there is no such device.
    """
    if asked == "auto":
        asked = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(asked)
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device {asked!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return device
