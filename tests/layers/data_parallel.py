"""One of two processes that train in parallel: `python -m tests.layers.data_parallel PORT FOLDER RANK`."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before there is a group, which its default arguments would keep for ever
from torch import Tensor, nn

import holdfast


def layer_and_input() -> tuple[holdfast.LSTM, Tensor]:
    """The same in every process."""
    torch.manual_seed(0)
    return holdfast.LSTM(3, 4, dtype=torch.float64), torch.randn(5, 4, 3, dtype=torch.float64)


def main(port: str, folder: str, rank: int) -> None:
    """Do this process's half of the batch and save the gradients."""
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    layer, x = layer_and_input()
    parallel = nn.parallel.DistributedDataParallel(layer)
    parallel(x[:, 2 * rank : 2 * rank + 2])[0].square().mean().backward()
    torch.save([w.grad for w in layer.parameters()], os.path.join(folder, f"{rank}.pt"))
    del parallel  # what it holds of the group must be gone before the group is: freed after, it can lock up
    dist.barrier()  # the first process holds the store: it must not leave before the other is done
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
