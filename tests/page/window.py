"""One window of the browser, and everything that went wrong in it: a test ends with none of that."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.deadlines import deadline

DESKTOP, LAPTOP, PHONE = (1440, 900), (1280, 720), (390, 844)
SERIOUS = ("serious", "critical")
WITNESS = """
    window.violations = [];
    addEventListener("securitypolicyviolation", (event) => {
        window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
    });
"""
# What the browser itself writes to the console of a request that was refused, or of a stream that was cut.
OF_THE_NETWORK = ("Failed to load resource", "net::ERR_")


@dataclass
class Window:
    """A page, its address, and what it complained of."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)

    def go(self, place: str = "") -> None:
        """To `#/saga/order-7`, or to the board."""
        self.page.goto(f"{self.url}/#/{place}")
        expect(self.page.locator("main h1, main h2").first).to_be_attached()

    def barriers(self) -> list[str]:
        """What a person who uses a keyboard, a screen reader or weak eyes would run into here."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']} ({one['impact']}): {', '.join(str(node['target']) for node in one['nodes'][:4])}"
            for one in found
            if one["impact"] in SERIOUS
        ]

    def is_too_wide(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def check(self) -> None:
        """Nothing went wrong so far."""
        assert self.errors == []
        assert self.page.evaluate("window.violations") == []

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(word in message.text for word in OF_THE_NETWORK):
            self.errors.append(message.text)


@contextmanager
def opened(
    browser: Browser, url: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False, still: bool = False
) -> Iterator[Window]:
    """Open a window; at its end it is checked."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce" if still else "no-preference",
        locale="en-GB",
    )
    context.set_default_timeout(deadline(15) * 1000)
    context.add_init_script(WITNESS)
    page = context.new_page()
    window = Window(page, url)
    page.on("pageerror", lambda error: window.errors.append(f"{error.message}\n{error.stack}"))
    page.on("console", window._hear)
    try:
        yield window
        window.check()
    finally:
        context.close()
