"""The page's pure parts, asked in the browser that runs them: money, columns, geometry, the telling, the axis."""

from itertools import pairwise
from typing import Any

import pytest

from tests.page.recorded import ANSWER, child, every_state, op, saga, seam, steps, undo
from tests.page.window import Window

pytestmark = pytest.mark.slow

Json = dict[str, Any]


def ask(window: Window, module: str, expression: str, **values: Any) -> Any:
    """Evaluate with the module's exports and the values in scope."""
    scope = f"const {{{', '.join(values)}}} = values; const m = await import('/js/{module}.js');"
    return window.page.evaluate(f"async (values) => {{ {scope} return {expression}; }}", values)


@pytest.fixture
def blank(window: Window) -> Window:
    """A window in which the modules can be imported; the page itself is not what is asked."""
    window.page.goto(f"{window.url}/icon.svg")
    return window


def marks(window: Window, *outlines: Json) -> list[Json]:
    """Those of the ribbon of the first; the others are its children."""
    found: list[Json] = window.page.evaluate(LAID + "return ribbon(laid); }", [*outlines])
    return found


def standing(window: Window, *outlines: Json) -> Json:
    found: Json = window.page.evaluate(LAID + "return standingOf(laid, undefined, Date.now()); }", [*outlines])
    return found


LAID = """async (outlines) => {
    const [{ Columns }, { DECLARED }, { lay }, { ribbon }, { standingOf }] = await Promise.all(
        ["columns", "labels", "laying", "ribbon", "words"].map((name) => import(`/js/${name}.js`)));
    const columns = new Columns(DECLARED);
    for (const outline of outlines) columns.learn(outline);
    const laid = lay(outlines[0], columns, (id) => outlines.find((one) => one.id === id));
"""


def names(found: list[Json]) -> list[str]:
    return [one["mark"] for one in found]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.00", "0.00"),
        ("1234567.50", "1,234,567.50"),
        ("-5.01", "−5.01"),
        ("0.1", "0.10"),
        ("9007199254740993.01", "9,007,199,254,740,993.01"),
    ],
)
def test_no_amount_is_rounded(blank: Window, text: str, shown: str) -> None:
    assert ask(blank, "money", "m.shown(text)", text=text) == shown


def test_what_is_no_amount_is_an_error_and_not_a_zero(blank: Window) -> None:
    caught = "(() => { try { return m.shown(text); } catch (e) { return e.message; } })()"
    for text in ("1,5", "NaN", "1.005"):
        assert "not an amount" in ask(blank, "money", caught, text=text)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("OutOfStock(sku='tea', left=0)", "out of stock"),
        ("NotPaid(order_id='order-1', reason='nobody paid within 60 s')", "not paid in time"),
        ("NotPaid(order_id='order-1', reason='stolen')", "payment refused"),
        ("shop.BoatSank(day=3)", "boat sank"),
        ("disk full", "disk full"),
        (None, ""),
    ],
)
def test_a_reason_is_short(blank: Window, error: str | None, reason: str) -> None:
    assert ask(blank, "labels", "m.reasonOf(error)", error=error) == reason


@pytest.mark.parametrize(
    ("worker", "name"),
    [
        ("orchestrator-2-4711", "Orchestrator 2"),
        ("orchestrator-1-1", "Orchestrator 1"),
        ("vm-2550", "Another process"),
        ("", "Another process"),
    ],
)
def test_a_worker_that_was_given_a_name_is_called_so(blank: Window, worker: str, name: str) -> None:
    assert ask(blank, "words", "m.workerName(worker)", worker=worker) == name


def test_the_columns_of_an_unknown_type_are_learnt_from_its_runs(blank: Window) -> None:
    flight, hotel = op(0, "call", "BookFlight"), op(2, "call", "BookHotel")
    first = saga(1, "running", [flight, op(1, "publish", "Told"), hotel], 1, type="trip")
    second = saga(2, "running", [flight, op(1, "step", "rent_car"), hotel], 1, type="trip", pivot_seq=1)
    learnt = "(() => { const c = new m.Columns({}); runs.forEach((run) => c.learn(run)); return c.of('trip'); })()"
    found = ask(blank, "columns", learnt, runs=[first, second])
    assert [column["label"] for column in found["columns"]] == ["Book flight", "Rent car", "Book hotel"]
    assert found["pivotAt"] == 2


def test_steps_that_are_open_at_once_share_a_column(blank: Window) -> None:
    run = saga(1, "running", [op(0, "call", "Left", "open"), op(1, "call", "Right", "open")], 1, type="pair")
    found = marks(blank, run)
    assert {(one["x"], one["h"]) for one in found if one["mark"] == "growing"} == {(0, 5)}


def test_what_failed_and_comes_again_is_the_same_step_tried_again(blank: Window) -> None:
    run = saga(1, "running", [op(0, "call", "Ask", "failed"), op(1, "call", "Ask", attempts=2)], 1, type="stubborn")
    assert names(marks(blank, run)).count("notch") == 2
    twice = saga(2, "running", [op(0, "call", "Ask"), op(1, "call", "Ask")], 1, type="twofold")
    assert names(marks(blank, twice)).count("done") == 2


def test_a_finished_compensation_has_no_solid_blue_left(blank: Window) -> None:
    found = marks(blank, every_state().sagas["order-1042"])
    assert "done" not in names(found)
    assert names(found).count("gone") == names(found).count("undo") == 3
    for one in (mark for mark in found if mark["mark"] == "undo"):  # each undo exactly beneath its do
        above = next(mark for mark in found if mark["mark"] == "gone" and mark["x"] == one["x"])
        assert above["w"] == one["w"]
    assert {"fold", "no", "end-back", "was"} <= set(names(found))


def test_undos_to_come_are_dotted_and_none_is_said_to_be_done(blank: Window) -> None:
    found = marks(blank, every_state().sagas["order-1043"])
    assert names(found).count("done") == 3
    assert names(found).count("todo") == 3
    assert "end-back" not in names(found)


def test_a_refused_undo_tears_the_ribbon_and_what_is_before_it_waits(blank: Window) -> None:
    found = marks(blank, every_state().sagas["order-987"])
    assert {"torn", "stuck"} <= set(names(found))
    assert standing(blank, every_state().sagas["order-987"])["title"] == "Stuck"


def test_who_stopped_before_anything_was_done_has_only_the_cross(blank: Window) -> None:
    run = saga(1, "failed", steps(1, "failed"), 1, 0.1, error="OutOfStock()")
    assert [one for one in names(marks(blank, run)) if one != "rail"] == ["no"]


def test_a_child_is_laid_into_the_row_of_its_order(blank: Window) -> None:
    shop = every_state()
    stuck = [shop.sagas["order-1011"], shop.sagas["order-1011/dispatch"]]
    assert {"torn", "stuck", "pivot-set"} <= set(names(marks(blank, *stuck)))
    told = standing(blank, *stuck)
    assert (told["title"], told["detail"]) == ("Stuck", "could not book a courier")
    unknown_child = marks(blank, stuck[0])
    assert names(unknown_child).count("growing") == 1


def test_no_band_leaves_the_width_and_none_covers_another(blank: Window) -> None:
    shop = every_state()
    for outline in shop.sagas.values():
        inner = shop.sagas.get(f"{outline['id']}/dispatch")
        found = marks(blank, outline, *([inner] if inner else []))
        for track in (7, 28):
            bands = sorted((one["x"], one["x"] + one["w"]) for one in found if one.get("w") and one.get("y") == track)
            assert all(0 <= left <= right <= 100.001 for left, right in bands), outline["id"]
            assert all(before[1] <= after[0] + 0.001 for before, after in pairwise(bands)), outline["id"]


def test_a_saga_without_operations_is_drawn_too(blank: Window) -> None:
    over = ("terminated", "failed", "completed", "cancelled")
    for status in ("queued", "running", "blocked", "stuck", "compensating", *over):
        ended = 1 if status in over else None
        marks(blank, saga(1, status, [], 1, ended))
        marks(blank, saga(1, status, [], 1, ended, type="never seen"))


def test_a_tale_is_ten_seconds_long_at_most_and_never_runs_backwards(blank: Window) -> None:
    undone = [op(at, "call", f"Step{at}", undo=undo()) for at in range(14)]
    for outline in [*every_state().sagas.values(), saga(5, "failed", undone, 900, 800, type="long")]:
        tale = blank.page.evaluate(LAID + TOLD, [outline])
        times = [one["t"] for one in tale["moments"]]
        assert times == sorted(times), outline["id"]
        assert tale["end"] <= 10.7
        assert all(one["text"].endswith((".", "?")) for one in tale["moments"]), outline["id"]


TOLD = """
    const { tell } = await import("/js/telling.js");
    const [{ id, ops, started_at }] = outlines;
    const at = (ms) => new Date(Date.parse(started_at) + ms).toISOString();
    const of = (op) => ({ op: op.name, seq: op.seq, undo_of: null, number: 1, note: "", sagaId: id });
    const attempts = ops.flatMap((op, i) => [
        { ...of(op), from: at(i * 10), to: op.state === "open" ? null : at(i * 10 + 5), outcome: op.state },
        ...(op.undo ? [{ ...of(op), undo_of: op.seq, from: at(999 - i * 9), to: at(999 - i * 9), outcome: "" }] : []),
    ]);
    return tell(laid, attempts, undefined);
}"""


def test_the_telling_says_each_kind_of_thing_that_happened(blank: Window) -> None:
    tale = blank.page.evaluate(LAID + TOLD, [every_state().sagas["order-1042"]])
    told = " ".join(one["text"] for one in tale["moments"])
    for words in ("nobody guesses", "only once", "same place", "turns over", "Newest first", "has been taken back"):
        assert words in told, words


def test_a_squeezed_axis_keeps_the_order_and_greys_what_is_long(blank: Window) -> None:
    points = [0, 12, 53, 5_000, 26_000, 26_040]
    made = "(a) => ({ xs: points.map(a.x), gaps: a.gaps, ticks: m.ticksOf(points, a, 9) })"
    found = ask(blank, "squeezing", f"({made})(m.axisOf(points, true))", points=points)
    assert found["xs"] == sorted(found["xs"])
    assert found["xs"][0] == 0
    assert found["xs"][-1] == pytest.approx(99)
    assert len(found["gaps"]) >= 1
    assert (found["ticks"][0], found["ticks"][-1]) == (0, 26_040)
    to_scale = ask(blank, "squeezing", "points.map(m.axisOf(points, false).x)", points=points)
    assert to_scale[3] == pytest.approx(99 * 5_000 / 26_040, rel=0.01)


def test_takeovers_of_many_sagas_are_one_event(blank: Window) -> None:
    runs = [saga(at, "running", steps(2), 30, seams=[{**seam(0, 20), "takeover_id": f"{at}-8"}]) for at in range(3)]
    later = saga(9, "running", steps(2), 30, seams=[seam(0, 5)])
    learnt = "((t) => { runs.forEach((one) => t.learn(one)); return t.list.map((one) => one.sagas.size); })"
    assert ask(blank, "takeovers", f"{learnt}(new m.Takeovers())", runs=[*runs, later]) == [1, 3]


def test_addresses_are_read(blank: Window) -> None:
    assert ask(blank, "routes", "m.placeOf('#/saga/order%2F7')") == {"view": "saga", "id": "order/7"}
    views = "['', '#/', '#/desk', '#/desk/a', '#/saga', '#/nowhere'].map((one) => m.placeOf(one).view)"
    assert ask(blank, "routes", views) == ["board", "board", "desk", "desk", "lost", "lost"]


def test_every_label_that_a_shop_saga_needs_is_there(blank: Window) -> None:
    keys = ["call:PlaceOrder", "call:RequestPayment", f"receive:{ANSWER}", "call:BookCourier"]
    found = ask(blank, "labels", "keys.map((key) => m.labelOf(key).column)", keys=keys)
    assert found == ["Order", "Charge", "Payment", "Courier"]


def test_a_child_that_is_known_to_its_parent_only_waits_at_its_first_column(blank: Window) -> None:
    waits = child(7, "running", [], 1)
    parent = saga(7, "running", [*steps(5), op(5, "child", "dispatch", "open", child_id=waits["id"])], 3, pivot_seq=4)
    assert [round(one["x"], 1) for one in marks(blank, parent, waits) if one["mark"] == "growing"] == [62.5]
