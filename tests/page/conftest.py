"""Fixtures of the page's tests: a browser, and a window on whatever serves the page."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.deadlines import deadline
from tests.page import chromium
from tests.page.stage import Stage, staged
from tests.page.window import Window, opened

Open = Callable[..., Window]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium.needed()
    expect.set_options(timeout=deadline(10) * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=chromium.ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """The page's files and the real door before them, with recorded sagas behind it."""
    with staged() as stage:
        yield stage


@pytest.fixture
def open_window(browser: Browser, stage: Stage) -> Iterator[Open]:
    with ExitStack() as windows:

        def open_one(**how: Any) -> Window:
            return windows.enter_context(opened(browser, stage.url, **how))

        yield open_one


@pytest.fixture
def window(open_window: Open) -> Window:
    return open_window()
