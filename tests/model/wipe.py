"""M5: Kafka loses its data, or a topic is deleted and made again. Does everything that was open still arrive, once?

A start and an event go through an outbox, the start opens a command, its reply comes back. No timers fire here: to send
again alone must heal. A topic that was made again and has grown past the reader's position skips messages without any
error; while it is shorter, the reader is out of range.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.explorer import Machine, Step
from tests.model.rules import Subject, rule

WANTED = frozenset(("start", "event", "reply"))

RULES = {
    "topic_id_at_claim": rule(
        "A9: a claim compares the topic's id with the one that next_offset counts in",
        and_without={"topic_id_while_held"},
        assuming={"wipe_while_down"},
    ),
    "topic_id_while_held": rule("M5: the owner compares it again and again, whether it has messages and timers or not"),
    "out_of_range_is_an_error": rule(
        "A9: out of range means that Kafka lost something, not `latest`",
        redundant="the topic's id says the same, and earlier",
    ),
    "resend_open_commands": rule("13: what is open is sent again, from journal and inbox"),
    "outbox_sent": rule(
        "13: acknowledged starts and events are kept, and sent again",
        and_without={"sent_keeps_topic_id"},
        assuming={"ack_and_delete_at_once"},
    ),
    "sent_keeps_topic_id": rule("M5: ... with the topic's id as known before the send, whenever they are seen"),
    "message_ids": rule("12: a message is taken once"),
    "one_recovery_transaction": rule(
        "3, A9: the new topic id, the offset and what is sent again commit together",
        and_without={"sent_keeps_topic_id"},
        assuming={"ack_and_delete_at_once"},
    ),
}

Row = tuple[str, int]  # what, and which insert of it: what is sent again is a new row


class State(NamedTuple):
    topic: int = 1
    log: tuple[str, ...] = ()
    asked: bool = False  # the command lies in the participant's topic
    known_topic: int = 1
    next_offset: int = 0
    taken: frozenset[str] = frozenset()
    open: bool = False
    outbox: frozenset[Row] = frozenset({("start", 1), ("event", 1)})
    acked: tuple[tuple[Row, int], ...] = ()  # by which topic; the row is not deleted yet
    sent: frozenset[Row] = frozenset()  # outbox_sent: what, and to which topic
    up: bool = True
    batch: tuple[str, int] | None = None  # read, not committed
    half: bool = False  # the mutant's second transaction of a recovery is still to come
    wipes: int = 1
    crashes: int = 1
    alarm: str = ""


class WipeMachine(Machine):
    name = "M5 wipe"

    def initial(self) -> State:
        return State()

    def broken_at_rest(self, s: State) -> str | None:
        return f"never taken: {sorted(WANTED - s.taken)}" if WANTED - s.taken else None

    def ended(self, s: State) -> bool:
        return s.taken >= WANTED

    def steps(self, s: State) -> Iterator[Step]:
        yield from self.relay(s)
        yield from self.owner(s)
        if s.asked:
            yield (
                "must",
                "the participant answers, perhaps from its inbox",
                s._replace(asked=False, log=(*s.log, "reply")),
            )
        if s.wipes and not (s.up and "wipe_while_down" in self.rules):
            wiped = s._replace(wipes=s.wipes - 1, topic=s.topic + 1, log=(), asked=False)
            yield "fault", "Kafka loses its data, the topics are made again", wiped
        if s.crashes and s.up:
            down = s._replace(crashes=s.crashes - 1, up=False, batch=None, half=False)
            yield "fault", "the owner dies", down

    def relay(self, s: State) -> Iterator[Step]:
        for row in sorted(s.outbox - {row for row, _ in s.acked}):
            yield "must", f"Kafka (topic {s.topic}) acks the {row[0]}", self.acknowledged(s, row)
        for row, topic in s.acked:
            left = tuple(one for one in s.acked if one != (row, topic))
            moved = s._replace(acked=left, outbox=s.outbox - {row}, sent=s.sent | {(row[0], topic)})
            yield "must", f"the row of the {row[0]} moves to outbox_sent (topic {topic})", moved
        if "sent_keeps_topic_id" in self.rules:
            for what, topic in sorted(s.sent):
                if topic != s.topic:
                    again = s._replace(sent=s.sent - {(what, topic)}, outbox=s.outbox | {(what, s.topic)})
                    yield "must", f"the {what} had gone to a topic that is no more: it goes out again", again

    def acknowledged(self, s: State, row: Row) -> State:
        if row[0] == "command":  # No gap between ack and delete here: an open command is sent again anyway.
            return s._replace(outbox=s.outbox - {row}, asked=True)
        if "ack_and_delete_at_once" in self.rules:
            return s._replace(log=(*s.log, row[0]), outbox=s.outbox - {row}, sent=s.sent | {(row[0], s.topic)})
        return s._replace(log=(*s.log, row[0]), acked=tuple(sorted((*s.acked, (row, s.topic)))))

    def owner(self, s: State) -> Iterator[Step]:
        gone = s.known_topic != s.topic
        if not s.up:
            up = s._replace(up=True)
            seen = gone and "topic_id_at_claim" in self.rules
            yield (
                "must",
                f"a successor claims{' and sees another topic' if seen else ''}",
                self.recover(up) if seen else up,
            )
            return
        if s.half:
            yield "must", "second transaction: what is open is sent again", self.send_again(s._replace(half=False))
        if s.batch is not None:
            yield "must", f"the owner commits: {s.batch[0]}", self.commit(s, *s.batch)
        elif gone and "topic_id_while_held" in self.rules:
            yield "must", "the owner sees another topic", self.recover(s)
        elif s.next_offset > len(s.log):
            if "out_of_range_is_an_error" in self.rules:
                yield "must", "the owner is out of range", self.recover(s)
            else:
                yield "must", "the owner is out of range and goes on at the end", s._replace(next_offset=len(s.log))
        elif s.next_offset < len(s.log):
            what = s.log[s.next_offset]
            yield "must", f"the owner reads {what} at {s.next_offset}", s._replace(batch=(what, s.next_offset))

    def commit(self, s: State, what: str, offset: int) -> State:
        after = s._replace(batch=None, next_offset=offset + 1, taken=s.taken | {what})
        if what in s.taken and "message_ids" not in self.rules:
            after = after._replace(alarm=f"the {what} was taken twice")
        if what == "start" and what not in s.taken:
            after = after._replace(open=True, outbox=s.outbox | {("command", s.topic)})
        return after._replace(open=False) if what == "reply" else after

    def recover(self, s: State) -> State:
        fresh = s._replace(known_topic=s.topic, next_offset=0, batch=None)
        return self.send_again(fresh) if "one_recovery_transaction" in self.rules else fresh._replace(half=True)

    def send_again(self, s: State) -> State:
        again = {"command"} if s.open and "resend_open_commands" in self.rules else set()
        if "outbox_sent" in self.rules and "sent_keeps_topic_id" not in self.rules:
            again |= {what for what, _ in s.sent}  # Without the topic's id: once, when the wipe is noticed.
        return s._replace(outbox=s.outbox | {(what, s.topic) for what in again})


SUBJECT = Subject("M5 wipe", (WipeMachine,), RULES)
