"""One of two processes that train in parallel: `python -m tests.clients.parallel KIND PORT FOLDER RANK`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before there is a group, which its default arguments would keep for ever
from torch import Tensor, nn

import holdfast


class Model(nn.Module):
    """Two recurrent layers and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = holdfast.LSTM(3, 6, 2, bidirectional=True, dtype=torch.float64)
        self.head = nn.Linear(12, 2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, 3) to (T, B, 2)."""
        return self.head(self.layer(x)[0])


def model_and_batches() -> tuple[Model, list[Tensor]]:
    """The same in every process."""
    torch.manual_seed(0)
    return Model(), [torch.randn(5, 4, 3, dtype=torch.float64) for _ in range(3)]


def train(model: nn.Module, run: Callable[[Tensor], Tensor], batches: Sequence[Tensor]) -> list[float]:
    """The losses of some steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for x in batches:
        optimizer.zero_grad()
        loss = run(x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main(kind: str, port: str, folder: str, rank: int) -> None:
    """Train on this process's half of each batch and save losses and weights."""
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=120))
    model, batches = model_and_batches()
    halves = [x[:, 2 * rank : 2 * rank + 2] for x in batches]
    if kind == "ddp":
        parallel = nn.parallel.DistributedDataParallel(model)
        losses = train(model, parallel, halves)
        weights = [p.detach() for p in model.parameters()]
        del parallel  # what it holds of the group must be gone before the group is: freed after, it can lock up
    else:
        from torch.distributed.fsdp import fully_shard

        mesh = dist.init_device_mesh("cpu", (2,))
        fully_shard(model.layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        losses = train(model, model, halves)
        weights = [p.full_tensor().detach() for p in model.parameters()]
    torch.save({"losses": losses, "weights": torch.cat([w.flatten() for w in weights])}, f"{folder}/{rank}.pt")
    dist.barrier()  # the first process holds the store: it must not leave before the other is done
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
