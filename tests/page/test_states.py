"""Every state that a server can put the page into, on a stage: empty, cut off, refused, thousands of rows."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.deadlines import eventually
from tests.page.conftest import Open
from tests.page.recorded import Json, Shop, iso, many, undo
from tests.page.stage import Stage
from tests.page.window import DESKTOP, LAPTOP, PHONE, Window

pytestmark = pytest.mark.slow

SAGAS = ("saga/order-1042", "saga/order-1044", "saga/order-1011")
DESKS = ("desk/order-987", "desk/order-1011%2Fdispatch", "desk/order-955")
PLACES = ("", *SAGAS, *DESKS, "nowhere")
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
ROWS_DRAWN_MAX = 48  # a window of 1,080 px at most, and eight on either side
NODES_MAX = 4_000
LONG_TASKS_MAX = 3  # of 50 ms and more, while 5,000 rows are scrolled through


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("place", PLACES)
def test_nobody_is_kept_out(open_window: Open, place: str, dark: bool) -> None:
    window = open_window(dark=dark)
    window.go(place)
    settle(window)
    assert window.barriers() == []


@pytest.mark.parametrize("place", PLACES)
def test_a_phone_never_scrolls_sideways(open_window: Open, place: str) -> None:
    window = open_window(size=PHONE)
    window.go(place)
    settle(window)
    assert not window.is_too_wide()
    if place == "":
        expect(window.page.locator(".dock")).to_be_visible()
        assert window.barriers() == []


def test_small_targets_are_no_smaller_than_they_may_be(open_window: Open) -> None:
    for size, least in ((DESKTOP, 22), (PHONE, 33)):
        window = open_window(size=size)
        window.go()
        settle(window)
        found = window.page.evaluate(HEIGHTS)
        assert [one for one in found if one[1] < least] == []


HEIGHTS = """() => [...document.querySelectorAll("button")]
    .filter((button) => button.offsetParent && !button.closest(".theme"))
    .map((button) => [button.textContent, button.getBoundingClientRect().height])
"""


def test_an_empty_shop_says_what_to_do(window: Window, stage: Stage) -> None:
    stage.shop = Shop()
    window.go()
    nothing = window.page.locator(".nothing")
    expect(nothing).to_contain_text("No orders yet. Place one and watch it.")
    nothing.get_by_role("button", name="Place an order").click()
    eventually(lambda: ("/floor/orders", {}) in stage.asked, 5, "an order was asked for")


def test_an_empty_filter_says_so_and_shows_all_again(window: Window, stage: Stage) -> None:
    for stuck in ("order-987", "order-955", "order-931", "order-1011/dispatch"):
        del stage.shop.sagas[stuck]
    window.go()
    expect(window.page.locator(".row").first).to_be_visible()
    window.page.get_by_role("button", name=re.compile("Needs you")).click()
    expect(window.page.locator(".nothing")).to_contain_text("None is stuck.")
    window.page.get_by_role("button", name="Show all").click()
    expect(window.page.locator(".row")).not_to_have_count(0)


def test_find_narrows_the_list(window: Window) -> None:
    window.go()
    settle(window)
    window.page.keyboard.press("/")
    window.page.keyboard.type("1042")
    expect(window.page.locator(".row")).to_have_count(1)
    window.page.get_by_role("searchbox").fill("no such id")
    expect(window.page.locator(".nothing")).to_contain_text("No saga here has “no such id” in its id.")


# Keys in one go: a busy machine would let more time pass between two than the page takes for a pair.
PRESSED = """(keys) => {
    for (const key of keys)
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    return document.activeElement.type ?? document.activeElement.tagName;
}"""


@pytest.mark.parametrize("place", ["", "desk", "saga/order-1042"])
def test_what_is_typed_behind_a_key_is_not_lost(window: Window, place: str) -> None:
    """The key has done its work when the next one is pressed, also where it leads to another view."""
    window.go(place)
    window.page.locator("main").focus()
    assert window.page.evaluate(PRESSED, ["/"]) == "search"
    window.page.keyboard.type("1042")
    expect(window.page.get_by_role("searchbox")).to_have_value("1042")
    window.page.go_back() if place else window.go()
    expect(window.page.locator("main h1, main h2").first).to_be_attached()


def test_the_field_is_left_by_the_keyboard_and_its_keys_work_again(window: Window) -> None:
    window.go()
    settle(window)
    press, field = window.page.keyboard.press, window.page.get_by_role("searchbox")
    press("/")
    window.page.keyboard.type("1042")
    press("Enter")
    press("j")
    expect(window.page.locator('[data-id="order-1042"] a')).to_be_focused()
    press("/")
    press("Escape")
    expect(field).to_have_value("")
    expect(field).to_be_focused()
    press("Escape")
    window.page.evaluate(PRESSED, ["g", "s"])
    expect(window.page.get_by_role("heading", level=1)).to_contain_text("need a person")


def test_a_saga_that_is_not_there_says_where_else_to_look(window: Window) -> None:
    window.go("saga/order-4711")
    expect(window.page.get_by_role("heading", name="There is no such saga")).to_be_visible()
    expect(window.page.locator("main")).to_contain_text("order-4711")


def test_a_lost_connection_is_said_and_the_figures_stay(window: Window, stage: Stage) -> None:
    window.go()
    settle(window)
    figure = window.page.locator(".proof h1").inner_text()
    stage.shop.sagas["order-1044"] |= {"status": "cancelled", "turns": 99}
    window.page.route("**/events", lambda route: route.abort())
    stage.cut()
    expect(window.page.locator(".live")).to_contain_text("Connection lost")
    assert window.page.locator(".proof h1").inner_text() == figure
    window.page.unroute("**/events")
    expect(window.page.locator(".live")).to_contain_text("Live")
    # The list is caught up: what happened meanwhile is there.
    expect(window.page.locator('[data-id="order-1044"] .state')).to_contain_text("Cancelled")


def test_an_older_picture_of_a_saga_changes_nothing(window: Window, stage: Stage) -> None:
    window.go()
    settle(window)
    late = {**stage.shop.sagas["order-1044"], "status": "completed", "turns": 1}
    stage.tell("sagas", "saga", late)
    stage.move("order-1047", status="cancelled")
    expect(window.page.locator('[data-id="order-1047"] .state')).to_contain_text("Cancelled")
    expect(window.page.locator('[data-id="order-1044"] .state')).to_contain_text("Waiting for payment")


def test_money_adrift_is_shown_as_it_is_with_its_orders(window: Window, stage: Stage) -> None:
    stage.totals = {"adrift": "-12.30", "adrift_orders": ["order-1042"]}
    window.go()
    expect(window.page.locator(".proof h1")).to_have_text("−RM 12.30 adrift")
    expect(window.page.locator(".proof").get_by_role("link", name="order-1042")).to_be_visible()
    assert window.barriers() == []


def test_two_orders_that_hide_each_other_in_the_sum_are_named(window: Window, stage: Stage) -> None:
    stage.totals = {"adrift": "0.00", "adrift_orders": ["order-1042", "order-1040"]}
    window.go()
    expect(window.page.locator(".proof")).to_have_class(re.compile("is-adrift"))
    expect(window.page.locator(".proof-sub a")).to_have_text(["order-1042", "order-1040"])


def test_past_the_point_of_no_way_back_nothing_is_said_to_come_back(window: Window, stage: Stage) -> None:
    child = stage.shop.sagas["order-1011/dispatch"]
    taken_back = [{**child["ops"][0], "undo": undo()}, {**child["ops"][1], "state": "failed"}]
    child |= {"status": "failed", "ops": taken_back, "ended_at": child["started_at"]}
    stage.shop.sagas["order-1011"] |= {"status": "stuck", "error": "NoCourier()"}
    window.go()
    row = window.page.locator('[data-id="order-1011"]')
    expect(row.locator(".state")).to_contain_text("Stuck")
    expect(row.locator(".book").first).to_have_text("41.00")
    assert row.locator(".m-todo").count() == 0
    assert row.locator(".m-do").count() >= 4


def test_what_a_child_took_back_by_itself_is_told_at_the_desk_and_nothing_covers_it(window: Window) -> None:
    window.go("desk/order-955")
    back = window.page.locator(".stand section", has_text="Taken back so far")
    expect(back).to_contain_text("void the label")
    expect(back).not_to_contain_text("Nothing yet")
    words, tie = window.page.evaluate(PIVOT_WORDS_AND_TIE)
    assert words["right"] < tie["left"] or tie["right"] < words["left"], (words, tie)


# What CSS writes has no box to ask for; its place in its parent is known.
PIVOT_WORDS_AND_TIE = """() => {
    const pair = document.querySelector(".pair.pivot"), style = getComputedStyle(pair, "::after");
    const left = pair.getBoundingClientRect().left + parseFloat(style.left);
    const tie = pair.querySelector(".tie b").getBoundingClientRect();
    return [{ left, right: left + parseFloat(style.width) }, { left: tie.left, right: tie.right }];
}"""


def test_every_filter_can_be_read_on_a_small_laptop(open_window: Open) -> None:
    window = open_window(size=LAPTOP)
    window.go()
    expect(window.page.locator(".row").first).to_be_visible()
    cut = window.page.evaluate(
        "() => { const f = document.querySelector('.filters'); return f.scrollWidth - f.clientWidth; }"
    )
    assert cut <= 0


def test_a_refused_button_says_what_is_unchanged_beside_it(window: Window, stage: Stage) -> None:
    window.go()
    settle(window)
    stage.refusal = (409, "The customer has paid already.")
    row = window.page.locator('[data-id="order-1044"]')
    row.hover()
    row.get_by_role("button", name="Refuse order-1044").click()
    complaint = window.page.get_by_role("alert")
    expect(complaint).to_contain_text("Not sent: The customer has paid already. order-1044 is as it was.")


def test_who_may_only_read_is_offered_nothing_else(window: Window, stage: Stage) -> None:
    stage.role = "read"
    window.go("desk/order-987")
    expect(window.page.locator("#note-hint")).to_contain_text("needs operate")
    expect(window.page.get_by_role("button", name="Retry: refund RM 89.00")).to_be_disabled()


def test_who_lost_the_right_sees_the_verbs_and_why_not(window: Window, stage: Stage) -> None:
    window.go("desk/order-987")
    stage.refusal = (403, "This token may read; this needs operate.")
    window.page.get_by_role("button", name="Retry: refund RM 89.00").click()
    expect(window.page.get_by_role("alert")).to_contain_text("The saga is as it was.")
    expect(window.page.locator("#note-hint")).to_contain_text("needs operate")
    expect(window.page.locator('input[name="verb"]').first).to_be_disabled()


def test_what_anybody_has_answered_lately_is_listed_with_who_and_why(window: Window, stage: Stage) -> None:
    now, long_ago = datetime.now(UTC), datetime.now(UTC) - timedelta(days=2)
    stage.audit = [
        answered(3, "order-987", "retry", now, outcome=None),
        answered(2, "order-12", "skip", now, note="Bo brings it"),
        answered(1, "order-11", "retry", long_ago),
    ]
    window.go("desk/order-987")
    expect(window.page.locator(".settled li")).to_have_count(1)
    expect(window.page.locator(".settled li")).to_contain_text("order-12 skipped by amends/ada")
    expect(window.page.locator(".settled q")).to_have_text("Bo brings it")
    expect(window.page.locator(".sum")).to_contain_text(re.compile("answered in a day ?1$"))


def answered(no: int, saga_id: str, verb: str, at: datetime, note: str = "", outcome: str | None = "done") -> Json:
    whose = {"verb_no": no, "saga_id": saga_id, "verb": verb, "note": note, "given_by": "amends/ada"}
    return {**whose, "given_at": iso(at), "done_at": outcome and iso(at), "outcome": outcome}


def test_a_verb_needs_its_note_and_says_before_what_it_leaves(window: Window, stage: Stage) -> None:
    window.go("desk/order-987")
    window.page.get_by_role("radio", name=re.compile("^Skip this undo")).check()
    button = window.page.get_by_role("button", name="Skip “refund RM 89.00” and go on")
    expect(button).to_be_disabled()
    preview = window.page.locator(".preview")
    expect(preview).to_contain_text("After skipping")
    expect(preview.locator(".amt-stuck")).to_have_text("left: RM 89.00")
    window.page.get_by_label("Note, kept with the saga").fill("The bank settles it, case 7731.")
    button.click()
    asked = ("/amends/v1/sagas/order-987/verbs", {"verb": "skip", "note": "The bank settles it, case 7731."})
    eventually(lambda: asked in stage.asked, 5, "the verb was given")


def test_thousands_of_sagas_are_a_window_of_rows(window: Window, stage: Stage) -> None:
    stage.shop = many(5_000)
    window.go()
    expect(window.page.locator(".filters [data-group=all] b")).to_have_text(re.compile("^4,99[0-9]|5,000$"))
    window.page.evaluate(COUNT_LONG_TASKS)
    for share in (0.2, 0.5, 0.9, 1, 0.3, 0):
        window.page.locator(".rows").evaluate("(rows, share) => { rows.scrollTop = rows.scrollHeight * share; }", share)
        window.page.evaluate(TWO_FRAMES)
        assert 5 < window.page.locator(".row").count() <= ROWS_DRAWN_MAX
    assert window.page.evaluate("document.querySelectorAll('*').length") < NODES_MAX
    assert window.page.evaluate("window.longTasks.filter((ms) => ms > 200).length") <= LONG_TASKS_MAX


COUNT_LONG_TASKS = """() => {
    window.longTasks = [];
    const push = (list) => window.longTasks.push(...list.getEntries().map(({ duration }) => duration));
    new PerformanceObserver(push).observe({ type: "longtask" });
}"""


def test_what_is_new_does_not_move_the_list_under_a_reader(window: Window, stage: Stage) -> None:
    stage.shop = many(200)
    window.go()
    settle(window)
    rows = window.page.locator(".rows")
    rows.evaluate("(rows) => { rows.scrollTop = 2000; }")
    window.page.evaluate(TWO_FRAMES)
    first = window.page.evaluate(FIRST_IN_VIEW)
    stage.tell(
        "sagas", "saga", {**stage.shop.sagas["order-1047"], "id": "order-1048", "started_at": iso(datetime.now(UTC))}
    )
    expect(window.page.get_by_role("button", name="1 new")).to_be_visible()
    assert window.page.evaluate(FIRST_IN_VIEW) == first
    window.page.get_by_role("button", name="1 new").click()
    expect(window.page.locator('[data-id="order-1048"]')).to_be_visible()


FIRST_IN_VIEW = """() => {
    const { top } = document.querySelector(".rows").getBoundingClientRect();
    const isInView = (row) => row.getBoundingClientRect().bottom > top + 1;
    return [...document.querySelectorAll(".row")].find(isInView).dataset.id;
}"""


def test_the_keyboard_is_enough(window: Window, stage: Stage) -> None:
    window.go()
    settle(window)
    press = window.page.keyboard.press
    press("j")
    expect(window.page.locator('[data-id="order-1047"] a')).to_be_focused()
    for _ in range(3):
        press("ArrowDown")
    press("p")
    eventually(lambda: ("/floor/orders/order-1044/answer", {"answer": "pay"}) in stage.asked, 5, "it was paid")
    press("Enter")
    expect(window.page.locator(".crumb .mono")).to_have_text("order-1044")
    press("r")
    eventually(lambda: ("/floor/orders/order-1044/answer", {"answer": "refuse"}) in stage.asked, 5, "it was refused")
    window.page.evaluate(PRESSED, ["g", "s"])
    expect(window.page.get_by_role("heading", level=1)).to_contain_text("need a person")
    press("u")
    expect(window.page.get_by_role("button", name="Kill Orchestrator 1")).to_be_focused()
    press("Enter")
    eventually(lambda: ("/floor/plugs/orchestrator-1", {"action": "kill"}) in stage.asked, 5, "it was killed")
    press("?")
    expect(window.page.get_by_role("dialog")).to_be_visible()


def test_single_keys_can_be_turned_off_and_never_fire_in_a_field(window: Window, stage: Stage) -> None:
    window.go()
    settle(window)
    window.page.get_by_role("searchbox").press_sequentially("os")
    window.page.get_by_role("searchbox").fill("")
    window.page.locator("main").focus()
    window.page.keyboard.press("?")
    window.page.get_by_label("Single keys are on").uncheck()
    window.page.get_by_role("button", name="Close").click()
    window.page.locator("main").focus()
    window.page.keyboard.press("o")
    window.page.get_by_role("button", name="Place an order").first.click()
    eventually(lambda: stage.asked, 5, "the button works")
    assert stage.asked == [("/floor/orders", {})]


def test_the_player_tells_it_a_sentence_a_press_where_nothing_may_move(open_window: Open) -> None:
    window = open_window(still=True)
    window.go("saga/order-1042")
    now = window.page.locator(".now")
    expect(now).to_contain_text("has been taken back")
    button = window.page.locator(".player button")
    expect(button).to_have_text("Again")
    told = []
    for _ in range(20):
        button.click()
        told.append(now.inner_text())
        if button.inner_text() == "Again":
            break
    assert told[0].startswith("An order for 3 dishes")
    assert told == sorted(set(told), key=told.index)
    assert any("turns over" in one for one in told)
    assert told[-1] == "Everything that was done has been taken back, and every book is at zero."


def test_the_player_goes_back_in_time_with_the_books(window: Window) -> None:
    window.go("saga/order-1042")
    left = window.page.locator(".tee .left .num span").first
    expect(left).to_have_text("0.00")
    expect(left).to_have_class(re.compile("is-closed"))
    window.page.locator("#seek").fill("600")
    expect(left).to_have_text("45.00")
    expect(left).not_to_have_class(re.compile("is-closed"))
    expect(window.page.locator(".player output")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d\d$"))


def test_a_saga_goes_on_while_one_looks_at_it(window: Window, stage: Stage) -> None:
    window.go("saga/order-1044")
    expect(window.page.locator(".tag")).to_have_text("Waiting for payment")
    ops = [{**one, "state": "succeeded"} for one in stage.shop.sagas["order-1044"]["ops"]]
    stage.move("order-1044", ops=[*ops, {**ops[0], "seq": 4, "name": "MarkPaid", "state": "open"}])
    expect(window.page.locator(".tag")).to_have_text("Marking it as paid")
    expect(window.page.locator(".journal")).to_contain_text("wait for payment: done")


def test_colours_that_the_system_forces_keep_the_shapes(window: Window) -> None:
    window.page.emulate_media(forced_colors="active")
    window.go()
    settle(window)
    outline = "(one) => getComputedStyle(document.querySelector(one)).stroke"
    assert window.page.evaluate(outline, ".m-undo") == window.page.evaluate(outline, ".m-gone")
    assert window.page.evaluate("getComputedStyle(document.querySelector('.m-do')).fill") != "none"


def settle(window: Window) -> None:
    """Until the list has come and the streams are open."""
    expect(window.page.locator(".live")).to_contain_text("Live")
    expect(window.page.locator(".nav .count")).to_be_visible()
