"""What holds for every test: which set it is in, one thread, a seed, NaN in all that nobody has written to."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from holdfast.engines.llvm import run
from tests import selection
from tests.browsers import browser, fits_a_phone

__all__ = ["browser", "fits_a_phone"]

# Triton decides as it is imported, by torch.compile perhaps, whether its kernels run in its interpreter.
os.environ.setdefault("TRITON_INTERPRET", "1")

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # started in the background of a shell; children would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--share` takes a part of the full set."""
    parser.addoption("--share", metavar="K/N", help="run the K-th of N shares of the tests marked full, and no others")


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Divide sweeps between the quick and the full set, and take the share that is asked for."""
    selection.mark_sweeps(items)
    requested = config.getoption("--share")
    if requested:
        chosen = selection.share(items, *selection.parse_share(requested))
        left = set(items) - set(chosen)
        config.hook.pytest_deselected(items=[item for item in items if item in left])
        items[:] = chosen


def pytest_collection_finish() -> None:
    """Leave modules and tests, which stay to the end, out of the garbage collector's walks."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _surroundings() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # with it torch.empty is filled with NaN
    torch.utils.deterministic.fill_uninitialized_memory = True
    run.forget_plans()  # the test before may have changed what they are made by
    yield
    torch.use_deterministic_algorithms(False)


# Files whose tests share runs that were trained once: each goes to one worker as a whole, or both would train them.
TOGETHER = ("cli", "data", "lab", "microscope", "models", "serving", "tasks", "training")


class Together(LoadScopeScheduling):
    """Sends the tests of such a file to one worker, and all others one by one."""

    def _split_scope(self, nodeid: str) -> str:
        return _scope(nodeid)


def _scope(nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    return path if path.removeprefix("tests/").partition("/")[0] in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """The marks of pytest-xdist's own groups stand in ids, where pytest 9.2 does not let it write them."""
    return Together(config, log) if config.getvalue("dist") == "loadgroup" else None
