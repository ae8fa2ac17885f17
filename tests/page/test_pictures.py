"""The pictures of README and docs, taken of the real stack: AMENDS_PICTURES=1 pytest tests/page/test_pictures.py.

Without that nothing is written, so that a run of the tests leaves the tree as it was.
"""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.page.test_journeys import WHOLE_MS, answer, placed, row_of, stands, url
from tests.page.window import PHONE, Window, opened

__all__ = ["url"]
pytestmark = [
    pytest.mark.serial,
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("AMENDS_PICTURES") != "1", reason="AMENDS_PICTURES is not 1"),
]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = (1280, 800)
BYTES_MAX = 150_000
COLOURS = 256


@pytest.fixture
def window(browser: Browser, url: str) -> Iterator[Window]:
    with opened(browser, url, SIZE) as window:
        window.page.set_default_timeout(WHOLE_MS)
        window.go()
        yield window


def test_the_floor_is_pictured(window: Window, browser: Browser) -> None:
    page = window.page
    paid, refused = a_busy_minute(page)
    stands(page, paid, "Completed")
    stands(page, refused, "Undone")
    keep(page, "floor-board")
    page.get_by_role("button", name="Dark").click()
    keep(page, "floor-board-dark")
    page.get_by_role("button", name="Light").click()
    page.goto(f"{window.url}/#/saga/{refused}")
    expect(page.locator(".verdict")).to_have_text("Nothing left over, in any book.", timeout=WHOLE_MS)
    keep(page, "floor-saga")
    page.goto(f"{window.url}/#/desk")
    expect(page.locator(".verb-grid")).to_be_visible(timeout=WHOLE_MS)
    keep(page, "floor-desk")
    with opened(browser, window.url, PHONE) as phone:
        phone.go(f"saga/{refused}")
        expect(phone.page.locator(".verdict")).to_be_attached(timeout=WHOLE_MS)
        keep(phone.page, "floor-phone")


def a_busy_minute(page: Page) -> tuple[str, str]:
    """Orders of every kind, a gateway that loses answers, and a kill in the middle. One that is paid, one refused."""
    for trouble in ("A refund in dispute", "No courier"):
        page.get_by_role("button", name="Place one with a trouble").click()
        order_id = placed(page, page.get_by_role("button", name=re.compile(f"^{trouble}")).click)
        answer(page, order_id, "Pay")
        stands(page, order_id, "Stuck")
    page.get_by_role("button", name="Place one with a trouble").click()
    stands(page, placed(page, page.get_by_role("button", name=re.compile("^Out of stock")).click), "Undone")
    page.get_by_role("radio", name="Loses answers").check()
    orders = [placed(page, lambda: page.keyboard.press("o")) for _ in range(6)]
    page.get_by_role("button", name="Kill Orchestrator 1").click()
    expect(page.locator(".event").first).to_contain_text("took over", timeout=WHOLE_MS)
    page.get_by_role("radio", name="Well").check()
    answer(page, orders[0], "Pay")
    answer(page, orders[1], "Refuse")
    answer(page, orders[2], "Pay")
    expect(row_of(page, orders[5]).locator("b")).to_have_text("Waiting for payment", timeout=WHOLE_MS)
    return orders[0], orders[1]


def keep(page: Page, name: str) -> None:
    """A picture with fewer colours is small, and looks the same."""
    page.mouse.move(0, 0)
    drawn = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    path = IMAGES / f"{name}.png"
    drawn.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < BYTES_MAX
