"""What holds for every test: one thread, a seed, and NaN in every buffer that nobody has written to."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import torch

# Triton decides as it is imported, by torch.compile perhaps, whether its kernels run in its interpreter.
os.environ.setdefault("TRITON_INTERPRET", "1")

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # started in the background of a shell; children would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _surroundings() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # with it torch.empty is filled with NaN
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)
