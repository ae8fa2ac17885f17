"""What people do on the page, on the real stack: real Kafka, Postgres, gateway, and processes that are really killed.

AMENDS_FLOOR_VAR names the directory of a stack that is up already (`make up`: var), to try a test by hand.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from orchestrator.local import ports
from orchestrator.local.background import down, up_in_background
from orchestrator.local.paths import VarDir
from services.play import NAMES
from tests.deadlines import deadline
from tests.page import chromium
from tests.page.window import Window, opened

pytestmark = [pytest.mark.serial, pytest.mark.slow]

WHOLE_MS = deadline(30) * 1000
ZERO = "RM 0.00 adrift"
LEAVES_MONEY = "test_a_disputed_refund_is_retried_and_then_left_at_the_desk"  # it comes last


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the floor of `make up` answers, in a stack of this module's own."""
    chromium.needed()  # before minutes of starting servers
    if running := os.environ.get("AMENDS_FLOOR_VAR"):
        yield address_in(Path(running))
        return
    patch = pytest.MonkeyPatch()
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        patch.delenv(name, raising=False)
    root = tmp_path_factory.mktemp("page") / "var"
    try:
        up_in_background(root, progress=print, watched_pid=os.getpid(), services=("setup", *NAMES))
        yield address_in(root)
    finally:
        down(root)
        patch.undo()


def address_in(var: Path) -> str:
    return f"http://127.0.0.1:{ports.read(VarDir.at(var).ports)['floor']}"


@pytest.fixture
def window(browser: Browser, url: str) -> Iterator[Window]:
    with opened(browser, url) as window:
        window.page.set_default_timeout(WHOLE_MS)
        window.go()
        expect(window.page.locator(".live")).to_contain_text("Live", timeout=WHOLE_MS)
        yield window


@pytest.fixture(autouse=True)
def money(window: Window, request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does, it moves no money that is not accounted for, unless it says that it leaves some."""
    headline = window.page.locator(".proof h1")
    expect(headline).to_have_text(re.compile("adrift$"), timeout=WHOLE_MS)
    before = headline.inner_text()
    assert before == ZERO or "AMENDS_FLOOR_VAR" in os.environ
    yield
    if request.node.originalname != LEAVES_MONEY:
        window.go()
        expect(headline).to_have_text(before, timeout=WHOLE_MS)


def placed(page: Page, press: Callable[[], Any]) -> str:
    """Do what places an order; return the id of the row that appears on top."""
    with page.expect_response(lambda answer: answer.url.endswith("/floor/orders")) as answer:
        press()
    order_id: str = answer.value.json()["order_id"]
    expect(row_of(page, order_id)).to_be_visible(timeout=WHOLE_MS)
    return order_id


def row_of(page: Page, order_id: str) -> Locator:
    return page.locator(f'.row[data-id="{order_id}"]')


def stands(page: Page, order_id: str, words: str) -> None:
    """Until the row says so."""
    expect(row_of(page, order_id).locator(".state b")).to_have_text(re.compile(words), timeout=WHOLE_MS)


def answer(page: Page, order_id: str, word: str) -> None:
    """Press Pay or Refuse in the row, when it waits for that."""
    stands(page, order_id, "Waiting for payment")
    row_of(page, order_id).hover()
    row_of(page, order_id).get_by_role("button", name=f"{word} {order_id}").click()


def test_an_order_is_placed_paid_and_brought(window: Window) -> None:
    page = window.page
    order_id = placed(page, page.get_by_role("button", name=re.compile("^Place an order")).first.click)
    answer(page, order_id, "Pay")
    stands(page, order_id, "Completed")
    row = row_of(page, order_id)
    expect(row.locator(".net .closed")).to_have_text("0.00", timeout=WHOLE_MS)
    taken, owed = row.locator(".book").nth(0).inner_text().split(), row.locator(".book").nth(1).inner_text().split()
    assert taken == owed != ["–"]
    assert row.locator("svg .m-do").count() >= 7


def test_a_refused_payment_is_taken_back_and_every_book_is_at_zero(window: Window) -> None:
    page = window.page
    order_id = placed(page, lambda: page.keyboard.press("o"))
    answer(page, order_id, "Refuse")
    stands(page, order_id, "Undone")
    row = row_of(page, order_id)
    expect(row.locator("svg .m-gone").first).to_be_attached()
    assert row.locator("svg .m-do").count() == 0  # no solid blue is left
    row.locator("a").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "The payment was refused, so everything was taken back. Nothing was charged.", timeout=WHOLE_MS
    )
    left = page.locator(".tee .left .num span")
    expect(left).to_have_text(["0.00", "0.00", "0"], timeout=WHOLE_MS)
    expect(page.locator(".verdict")).to_have_text("Nothing left over, in any book.")
    assert page.locator(".trace .br-arrow").count() == 3
    expect(page.locator(".journal")).to_contain_text("turns over")
    page.get_by_role("button", name="JSON").click()
    expect(page.locator(".journal-json")).to_contain_text('"op":"finish"')


def test_a_killed_orchestrator_loses_nothing(window: Window) -> None:
    page = window.page
    order_id = placed(page, lambda: page.keyboard.press("o"))
    stands(page, order_id, "Waiting for payment")
    for name in ("Orchestrator 1", "Orchestrator 2"):  # whichever runs it, it has been taken over
        page.get_by_role("button", name=f"Kill {name}").click()
        expect(page.get_by_role("button", name=f"Start {name}")).to_be_visible(timeout=WHOLE_MS)
        page.get_by_role("button", name=f"Start {name}").click()
        expect(page.get_by_role("button", name=f"Kill {name}")).to_be_enabled(timeout=WHOLE_MS)
    answer(page, order_id, "Pay")
    stands(page, order_id, "Completed")
    expect(page.locator(".event").first).to_contain_text(re.compile("Orchestrator [12] took over"), timeout=WHOLE_MS)
    expect(row_of(page, order_id).locator(".m-seam").first).to_be_attached()
    expect(page.locator(".log")).to_contain_text("was killed")


def test_a_courier_that_nobody_finds_is_settled_at_the_desk(window: Window) -> None:
    page = window.page
    page.get_by_role("button", name="Place one with a trouble").click()
    order_id = placed(page, page.get_by_role("button", name=re.compile("^No courier")).click)
    answer(page, order_id, "Pay")
    stands(page, order_id, "Stuck")
    page.goto(f"{window.url}/#/desk/{order_id}")
    expect(page.locator("#h-case")).to_have_text("“Send it out” was refused, and from here there is no way back.")
    assert window.barriers() == []
    page.get_by_role("radio", name=re.compile("^Skip this step")).check()
    page.get_by_label("Note, kept with the saga").fill("Hana brings it on her way home.")
    page.get_by_role("button", name="Skip “send it out” and go on").click()
    expect(page.locator(".settled-words")).to_have_text("Nothing more is asked of you. It has ended.", timeout=WHOLE_MS)
    expect(page.locator(".audit q")).to_have_text("Hana brings it on her way home.")
    expect(page.locator(".settled")).to_have_text(re.compile(rf"{order_id} skipped by \w+/local"))


def test_the_gateway_and_the_stream_do_as_their_switches_say(window: Window) -> None:
    page = window.page
    page.get_by_role("radio", name="Loses answers").check()
    expect(page.locator(".gate .legend")).to_contain_text("does it, and loses the answer", timeout=WHOLE_MS)
    page.keyboard.press("s")
    expect(page.get_by_role("button", name=re.compile("^Streaming"))).to_be_visible(timeout=WHOLE_MS)
    expect(page.locator(".filters [data-group=completed] b")).not_to_have_text("0", timeout=WHOLE_MS * 2)
    page.keyboard.press("s")
    expect(page.get_by_role("button", name=re.compile("^Stream, "))).to_be_visible(timeout=WHOLE_MS)
    page.get_by_role("radio", name="Well").check()
    expect(page.locator(".gate .legend")).to_contain_text("answers at once", timeout=WHOLE_MS)
    expect(page.locator(".filters [data-group=running] b")).to_have_text("0", timeout=WHOLE_MS * 6)


def test_a_disputed_refund_is_retried_and_then_left_at_the_desk(window: Window) -> None:
    page = window.page
    page.get_by_role("button", name="Place one with a trouble").click()
    order_id = placed(page, page.get_by_role("button", name=re.compile("^A refund in dispute")).click)
    answer(page, order_id, "Pay")
    stands(page, order_id, "Stuck")
    page.goto(f"{window.url}/#/desk/{order_id}")
    expect(page.locator("#h-case")).to_contain_text("was refused, so the way back has stopped.")
    page.get_by_role("button", name=re.compile("^Retry: refund RM")).click()
    # The bank has not decided, so it is refused again, and waits again.
    expect(page.locator(".audit li")).to_have_text(re.compile(r"^retry by \w+/local, .*done"), timeout=WHOLE_MS)
    skip = page.get_by_role("radio", name=re.compile("^Skip this undo"))
    expect(skip).to_be_visible(timeout=WHOLE_MS)
    skip.check()
    page.get_by_label("Note, kept with the saga").fill("The bank settles it, case 7731.")
    page.get_by_role("button", name=re.compile("^Skip “refund RM")).click()
    expect(page.locator(".settled-words")).to_contain_text("It has ended.", timeout=WHOLE_MS)
    page.goto(f"{window.url}/#/saga/{order_id}")
    expect(page.locator(".tag")).to_have_text(re.compile("^Ended, "), timeout=WHOLE_MS)
    # What is left with the gateway is in no order's price any more. The headline says so, and whose word it was.
    window.go()
    expect(page.locator(".proof")).to_have_class(re.compile("is-adrift"), timeout=WHOLE_MS)
    expect(page.locator(".proof-sub")).to_contain_text("A person decided to leave it", timeout=WHOLE_MS)
    expect(page.locator(".proof-sub").get_by_role("link", name=order_id)).to_be_visible()
