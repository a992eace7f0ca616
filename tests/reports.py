"""Runs without their report, which takes most of the time of a tiny one: for tests that do not read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from holdfast.tasks import fitting
from holdfast.tasks.fitting import Fitted
from holdfast.tasks.report import write_report
from holdfast.training import write_atomically


def _bare_report(fitted: Fitted, *_: Any) -> None:
    write_atomically(fitted.folder / "report.html", "<!doctype html>")


@contextmanager
def reports(whole: bool) -> Iterator[None]:
    """What is fitted meanwhile has a whole report, or one of no parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "write_report", write_report if whole else _bare_report)
        yield


@pytest.fixture(scope="module", autouse=True)
def no_reports(request: pytest.FixtureRequest) -> Iterator[None]:
    """The runs of a module have none, unless it says REPORTS = True."""
    with reports(getattr(request.module, "REPORTS", False)):
        yield


@pytest.fixture
def reported() -> Iterator[None]:
    """The runs of a test have theirs after all."""
    with reports(True):
        yield
