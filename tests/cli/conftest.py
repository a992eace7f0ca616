"""The runs that the commands make have no reports, but where they are read; tiny runs of all applications."""

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.applications import APPLICATIONS, Made, make
from tests.reports import no_reports, reported, reports
from tests.support import own_cache

__all__ = ["made", "no_reports", "reported"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Made]]:
    """A run of an application, which is trained when it is first asked for. No test changes it."""
    folder = tmp_path_factory.mktemp("applications")
    with pytest.MonkeyPatch.context() as patch:
        own_cache(patch, folder / "cache")
        patch.setattr("holdfast.tasks.transcription.baselines._LEARNED", 5)

        @cache
        def of(name: str) -> Made:
            with reports(False):
                return make(APPLICATIONS[name], folder / name)

        yield of
