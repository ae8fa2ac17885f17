"""Exported turn by turn, by whoever and from wherever, the spans are those of the whole journal: each one once."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.story import Story, advance
from orchestrator.tracing.spans import Span, ended_spans, spans_of
from tests.unit.tracing.journals import BUSY, DECLINED, FACTS, LOST, Turn, call, finish, status, turn, undo, wait

SEQS = st.integers(0, 5)
ATTEMPTS = st.integers(1, 3)
PROBLEMS = st.sampled_from([DECLINED, BUSY, LOST])


def step(seq: int, attempt: int, undo_of: int | None) -> dict[str, Any]:
    line: dict[str, Any] = {"op": "step", "seq": seq, "name": f"step{seq}", "attempt": attempt}
    return line if undo_of is None else {**line, "seq": seq + 100, "undo_of": undo_of}


DECISIONS = st.one_of(
    st.builds(lambda seq, attempt: call(seq, f"Call{seq}", attempt), SEQS, ATTEMPTS),
    st.builds(lambda seq, attempt, of: step(seq, attempt, of), SEQS, ATTEMPTS, st.none() | SEQS),
    st.builds(lambda seq: {"op": "child", "seq": seq, "name": f"child{seq}", "id": f"c{seq}"}, SEQS),
    st.builds(lambda seq, attempt: undo(seq, f"Call{seq}", "unknown", attempt), SEQS, ATTEMPTS),
    st.builds(lambda seq, attempt: {"op": "undo_child", "undo_of": seq, "attempt": attempt}, SEQS, ATTEMPTS),
    st.builds(lambda seq, name: wait(seq, "receive", name), SEQS, st.sampled_from(["A", "A | B", "B on x"])),
    st.builds(lambda seq: wait(seq, "sleep", "2s"), SEQS),
    st.builds(lambda seq: wait(seq, "timeout", "1s"), SEQS),
    st.builds(lambda seq: {"op": "publish", "seq": seq, "name": f"Event{seq}", "topic": "t", "body": {}}, SEQS),
    st.sampled_from([status("compensating"), status("stuck", "why"), status("running"), {"op": "pivot", "seq": 9}]),
    st.sampled_from(
        [finish(), finish("failed", DECLINED, ("x",)), {"op": "answer_undo", "key": "k", "outcome": "undone"}]
    ),
    st.just({"op": "of a later version", "seq": 1}),
)
ENTRIES = st.one_of(
    st.fixed_dictionaries(
        {
            "in": st.sampled_from(["replied", "step_ended", "undo_replied"]),
            "seq": SEQS | st.integers(100, 105),
            "attempt": ATTEMPTS,
            "outcome": st.sampled_from(["succeeded", "failed", "retry", "raised", "undone"]),
            "problem": PROBLEMS,
        }
    ),
    st.just({"in": "timer", "timer": 1}),
    st.builds(
        lambda name, channel: {"in": "message", "type": name, "channel": channel},
        st.sampled_from("AB"),
        st.sampled_from(["", "x"]),
    ),
    st.builds(lambda verb: {"in": "verb", "verb": verb}, st.sampled_from(["cancel", "retry", "skip", "fail"])),
    st.just({"in": "undo_requested", "key": "k", "attempt": 1, "reply_to": "t/0"}),
    st.just({"in": "of a later version"}),
)


@st.composite
def journals(draw: st.DrawFn) -> list[Turn]:
    """Any lines in any order: worse than what a runtime writes."""
    bodies = [turn(0, "started", *draw(st.lists(DECISIONS, max_size=4)))]
    at = 0.0
    for entry in draw(st.lists(ENTRIES, max_size=12)):
        at += draw(st.sampled_from([-0.5, 0.0, 0.7, 2.5]))  # clocks of two workers differ
        fields = {name: value for name, value in entry.items() if name != "in"}
        bodies.append(turn(at, str(entry["in"]), *draw(st.lists(DECISIONS, max_size=3)), **fields))
    return bodies


def ended_at(bodies: list[Turn], pos: int) -> list[Span]:
    """What an exporter derives that has never heard of this saga."""
    story = Story()
    for body in bodies[:pos]:
        advance(story, body)
    return list(ended_spans(FACTS, story, advance(story, bodies[pos])))


@settings(max_examples=150, deadline=None)
@given(journals())
def test_turn_by_turn_is_the_same_as_all_at_the_end(bodies: list[Turn]) -> None:
    whole = list(spans_of(FACTS, bodies))
    assert [span for pos in range(len(bodies)) for span in ended_at(bodies, pos)] == whole
    assert list(spans_of(FACTS, bodies)) == whole
    assert len({span.span_id for span in whole}) == len(whole), "a span is exported once"
    assert all(span.begun_us <= span.ended_us for span in whole)


@settings(max_examples=100, deadline=None)
@given(journals())
def test_when_a_saga_has_ended_nothing_of_it_is_missing(bodies: list[Turn]) -> None:
    story, spans = Story(), {span.name for span in spans_of(FACTS, bodies)}
    for body in bodies:
        advance(story, body)
        if story.ended_us is not None and body[-1].get("op") == "finish":
            break
    else:
        return
    assert "saga checkout" in spans
    assert [o.title for o in story.operations.values() if o.is_open] == []
    assert [o.title for o in story.operations.values() if o.undo is not None and o.undo.ended_us is None] == []
