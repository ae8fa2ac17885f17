"""M3: the outbox table, its slot, two relays and Kafka. Is every row published, in its key's order, and then deleted?

Rows 1 and 3 have one key and are written one after the other; row 2 has another and commits whenever it likes, so its
number may come late. Row 1 is told by the slot before a SELECT can see it (a slow synchronous replica).

A relay polls the table until one look has shown everything, also all that the slot had told by then; from there on it
follows the stream, until it has to shed rows. What the slot has confirmed it does not tell again. A relay can die, or
be stopped and later go on with what lies in its producer's queue.
"""

from collections.abc import Iterator
from typing import NamedTuple

from outbox_relay.snapshot import Snapshot
from tests.model.explorer import Machine, Step
from tests.model.rules import Subject, rule

KEYS = {1: "k", 2: "q", 3: "k"}
SEEN_LATE = frozenset({1})
HELD_MAX = 2
XID = 700  # row n was written by transaction XID + n

RULES = {
    "delete_after_ack": rule("a row is deleted after the broker's ack, never before"),
    "table_first": rule("a relay reads the table when it begins"),
    "table_after_shed": rule("rows that were shed are found by reading the table again"),
    "table_then_stream": rule("B5: while the table has to be read, nothing is taken from the stream"),
    "slot_guard": rule("a lost slot means: read the table, make a new slot"),
    "read_again_after_failure": rule("B8: any delivery failure: purge, new producer, read the table again"),
    "message_timeout_below_lease": rule("B8: a producer's queue is dead before the lease can pass to another"),
    "never_last_id": rule("B6: never scan from the last number seen: a smaller one may commit later"),
    "retry_empty_delete": rule(
        "an ack whose DELETE finds nothing is tried again: decoding ran ahead of visibility",
        assuming={"no_faults"},
    ),
    "visible_first": rule("M3: confirmed is, and taken over from the table, only what a snapshot shows"),
}


class Relay(NamedTuple):
    """`sent` is in the producer, in order; `acked` waits for its DELETE; `told`: how many of `untold` it has heard."""

    on: bool = False
    stopped: bool = False
    streaming: bool = False
    waiting: tuple[int, ...] = ()
    sent: tuple[int, ...] = ()
    acked: tuple[int, ...] = ()
    told: int = 0

    @property
    def known(self) -> frozenset[int]:
        return frozenset((*self.waiting, *self.sent, *self.acked))


class State(NamedTuple):
    committed: frozenset[int] = frozenset()
    visible: frozenset[int] = frozenset()
    table: frozenset[int] = frozenset()
    untold: tuple[int, ...] = ()  # what the slot tells, or would tell again, in the order of commits
    log: tuple[int, ...] = ()  # first publications
    leader: int = -1
    relays: tuple[Relay, Relay] = (Relay(), Relay())
    faults: int = 2

    def shows(self, seq: int) -> bool:
        """What a snapshot taken now says of the row's transaction."""
        running = frozenset(XID + n for n in KEYS if n not in self.visible)
        return Snapshot(min(running, default=XID + 4), XID + 4, running).shows(XID + seq)


class RelayMachine(Machine):
    name = "M3 relay"

    def initial(self) -> State:
        return State()

    def broken(self, s: State) -> str | None:
        firsts = [seq for seq in s.log if KEYS[seq] == "k"]
        return None if firsts == sorted(firsts) else f"the rows of one key came in the order {firsts}"

    def broken_at_rest(self, s: State) -> str | None:
        if lost := sorted(KEYS.keys() - set(s.log)):
            return f"rows {lost} were committed and never published"
        return (
            f"rows {sorted(s.table)} were published and never deleted: they come again weeks later" if s.table else None
        )

    def ended(self, s: State) -> bool:
        return len(s.log) == len(KEYS) and not s.table

    def steps(self, s: State) -> Iterator[Step]:
        for seq, key in KEYS.items():
            if seq not in s.committed and (seq != 3 or 1 in s.visible):
                yield (
                    "must",
                    f"row {seq} (key {key}) commits",
                    s._replace(
                        committed=s.committed | {seq},
                        visible=s.visible | ({seq} - SEEN_LATE),
                        table=s.table | {seq},
                        untold=(*s.untold, seq),
                    ),
                )
            if seq in s.committed - s.visible:
                yield "must", f"row {seq} becomes visible", s._replace(visible=s.visible | {seq})
        for who in (0, 1):
            yield from self.relay(s, who)
        if s.faults and "no_faults" not in self.rules:
            yield from self.faults(s)

    # --- one relay

    def relay(self, s: State, who: int) -> Iterator[Step]:
        r, me, leads = s.relays[who], f"relay {who + 1}", s.leader == who
        dead_queue = "message_timeout_below_lease" in self.rules
        if not r.on:
            if s.leader == -1:
                streaming = "table_first" not in self.rules
                yield (
                    "must",
                    f"{me} takes the lease",
                    put(s._replace(leader=who), who, Relay(on=True, streaming=streaming)),
                )
            return
        if r.stopped:
            yield "may", f"{me} wakes up", put(s, who, r._replace(stopped=False))
            if dead_queue:
                return
        elif not leads and (dead_queue or not (r.sent or r.acked)):
            yield "must", f"{me} finds its lease gone and its queue dead", put(s, who, Relay())
            return
        if leads and not r.stopped:
            yield from self.listen(s, who)
            yield from self.send(s, who)
        yield from self.hear(s, who)

    def listen(self, s: State, who: int) -> Iterator[Step]:
        r, me = s.relays[who], f"relay {who + 1}"
        if not r.streaming:
            yield "must", f"{me} looks at the table", self.look(s, who)
        early = not r.streaming and "table_then_stream" not in self.rules
        if r.told < len(s.untold):
            yield "must", f"the slot tells {me} of row {s.untold[r.told]}", self.told(s, who, early=early)
        if r.told and (s.shows(s.untold[0]) or "visible_first" not in self.rules):
            confirmed = put(s._replace(untold=s.untold[1:]), who, r._replace(told=r.told - 1))
            yield "must", f"{me} confirms row {s.untold[0]}", confirmed

    def told(self, s: State, who: int, *, early: bool) -> State:
        r = s.relays[who]
        seq, told = s.untold[r.told], r._replace(told=r.told + 1)
        # A row that a look has shown, and that has left since, is old news: `table` stands for that here.
        if seq in r.known or seq not in s.table or not (r.streaming or early):
            return put(s, who, told)
        if len(r.waiting) + len(r.sent) < HELD_MAX:
            return put(s, who, told._replace(waiting=(*r.waiting, seq)))
        return put(s, who, told._replace(streaming="table_after_shed" not in self.rules))

    def look(self, s: State, who: int) -> State:
        r = s.relays[who]
        after = max(s.log, default=0) if "never_last_id" not in self.rules else 0
        found = [seq for seq in sorted(s.table & s.visible) if seq not in r.known and seq > after]
        room = max(HELD_MAX - len(r.waiting) - len(r.sent), 0)
        shown = all(s.shows(seq) for seq in s.untold[: r.told]) or "visible_first" not in self.rules
        return put(s, who, r._replace(waiting=r.waiting + tuple(found[:room]), streaming=len(found) <= room and shown))

    def send(self, s: State, who: int) -> Iterator[Step]:
        r = s.relays[who]
        if not r.waiting:
            return
        seq, sent = r.waiting[0], r._replace(waiting=r.waiting[1:], sent=(*r.sent, r.waiting[0]))
        table = s.table if "delete_after_ack" in self.rules else s.table - {seq}
        yield "must", f"relay {who + 1} gives row {seq} to its producer", put(s._replace(table=table), who, sent)

    def hear(self, s: State, who: int) -> Iterator[Step]:
        r, me = s.relays[who], f"relay {who + 1}"
        if r.sent:
            seq = r.sent[0]
            acked = put(s, who, r._replace(sent=r.sent[1:], acked=(*r.acked, seq)))
            log = s.log if seq in s.log else (*s.log, seq)
            yield "may" if r.stopped else "must", f"Kafka takes row {seq} from {me}", acked._replace(log=log)
            if "message_timeout_below_lease" not in self.rules and s.leader != who and len(r.sent) > 1:
                yield (
                    "may",
                    f"row {seq} dies in the queue of {me}, the next does not",
                    put(s, who, r._replace(sent=r.sent[1:])),
                )
        if r.acked and not r.stopped:
            seq, done = r.acked[0], r._replace(acked=r.acked[1:])
            if seq in s.visible:
                yield "must", f"{me} deletes row {seq}", put(s._replace(table=s.table - {seq}), who, done)
            elif "retry_empty_delete" not in self.rules:
                yield "must", f"{me} deletes row {seq} and finds nothing yet", put(s, who, done)

    # --- what can go wrong

    def faults(self, s: State) -> Iterator[Step]:
        less = s._replace(faults=s.faults - 1)
        for who in (0, 1):
            r, me = s.relays[who], f"relay {who + 1}"
            if not r.on:
                continue
            if s.leader == who:
                alone = less._replace(leader=-1)
                yield "fault", f"{me} dies", put(alone, who, Relay())
                if not any(x.stopped for x in s.relays):  # Somebody replaces a process that never wakes up.
                    frozen = Relay(on=True, stopped=True, sent=r.sent, acked=r.acked)
                    yield "fault", f"{me} is stopped, its lease runs out", put(alone, who, frozen)
            if r.sent:
                yield from self.delivery_fails(less, who)
        if (
            s.leader >= 0 and s.untold and s.visible == s.committed
        ):  # A slot is born when older transactions have ended.
            r = s.relays[s.leader]
            lost = r._replace(told=0, streaming=r.streaming and "slot_guard" not in self.rules)
            yield (
                "fault",
                "the slot is lost with all that it had not told",
                put(less._replace(untold=()), s.leader, lost),
            )

    def delivery_fails(self, s: State, who: int) -> Iterator[Step]:
        r, me = s.relays[who], f"relay {who + 1}"
        if "read_again_after_failure" in self.rules:
            again = r._replace(waiting=(), sent=(), streaming=False)
            yield "fault", f"row {r.sent[0]} fails; {me} purges all and reads the table again", put(s, who, again)
        else:
            last = r._replace(sent=(*r.sent[1:], r.sent[0]))
            yield "fault", f"row {r.sent[0]} fails; {me} sends it again behind the others", put(s, who, last)


def put(s: State, who: int, r: Relay) -> State:
    return s._replace(relays=(r, s.relays[1]) if who == 0 else (s.relays[0], r))


SUBJECT = Subject("M3 relay", (RelayMachine,), RULES)
