"""A browser, which all tests of pages share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "HOLDFAST_BROWSER"  # set where a missing browser is a failure
PHONE = 390  # points that a telephone's window is wide


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser without a window."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set and there is none of {', '.join(BROWSERS)}")
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root, Chromium's sandbox cannot be set up.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def fits_a_phone(browser: Any) -> Callable[[str], None]:
    """Checks that a page of HTML is no wider than a telephone's window: only its tables may be scrolled sideways."""

    def check(html: str) -> None:
        page = browser.new_page(viewport={"width": PHONE, "height": 844})
        page.set_content(html)
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.close()
        assert wide == PHONE

    return check
