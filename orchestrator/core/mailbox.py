"""Messages to the saga: kept in the order of arrival, known by their ids, each received once (rule 12)."""

from dataclasses import dataclass
from typing import Any

from orchestrator.contracts import Message
from orchestrator.core import values
from orchestrator.core.blocked import Blocked
from orchestrator.core.decisions import Wait
from orchestrator.core.entries import Json, MessageArrived
from orchestrator.core.operations import Operation
from orchestrator.core.state import SagaState
from orchestrator.errors import PayloadError
from orchestrator.problems import Problem, problem_of


@dataclass(frozen=True, slots=True)
class Mail:
    number: int
    type: str
    channel: str
    body: Json


class Mailbox:
    """`ids` of all messages that ever came, for doubles come late; `mail` that nobody has received."""

    __slots__ = ("ids", "mail", "number", "receivers")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.mail: list[Mail] = []
        self.receivers: list[Receive] = []
        self.number = 0

    def arrived(self, entry: MessageArrived) -> str | None:
        """None, or why the message is ignored."""
        if entry.message_id in self.ids:
            return "a message that came before"
        self.ids.add(entry.message_id)
        self.number += 1
        mail = Mail(self.number, entry.type, entry.channel, entry.body)
        for receiver in self.receivers:
            if receiver.wants(mail):
                self.receivers.remove(receiver)
                receiver.get(mail)
                return None
        self.mail.append(mail)
        return None

    def oldest_for(self, receiver: "Receive") -> Mail | None:
        """The oldest message that it wants, taken out."""
        for index, mail in enumerate(self.mail):
            if receiver.wants(mail):
                return self.mail.pop(index)
        return None

    def put_back(self, mail: Mail) -> None:
        """It was handed to somebody who was cancelled before taking it. Never dropped: back to its place."""
        for receiver in self.receivers:
            if receiver.wants(mail):
                self.receivers.remove(receiver)
                receiver.get(mail)
                return
        self.mail.append(mail)
        self.mail.sort(key=lambda kept: kept.number)


class Receive(Operation):
    """Wait for a message of these types on this channel; the oldest first, also one that came before."""

    __slots__ = ("channel", "got", "mailbox", "types")

    def __init__(
        self,
        st: SagaState,
        mailbox: Mailbox,
        types: tuple[type[Message], ...],
        channel: str,
        timeout_s: float | None,
    ) -> None:
        self.types = {cls.__wire_name__: cls for cls in types}
        super().__init__(st, " | ".join(self.types))
        self.mailbox = mailbox
        self.channel = channel
        self.got: Mail | None = None
        self.decide(Wait(seq=self.seq, what="receive", name=f"{self.name} on {channel}" if channel else self.name))
        mail = mailbox.oldest_for(self)
        if mail is not None:
            self.get(mail)
            return
        mailbox.receivers.append(self)
        if timeout_s is not None:
            self.timer = st.arm(timeout_s, self._timed_out)

    def wants(self, mail: Mail) -> bool:
        return mail.type in self.types and mail.channel == self.channel

    def get(self, mail: Mail) -> None:
        """Raises Blocked for a body that the class does not take: the saga's code must not meet that error, whether the
        message came before the saga waited for it or after.
        """
        self.got = mail
        try:
            self.succeed(mail.body)
        except PayloadError as error:
            broken = self.st.loop.broken = Blocked(problem_of(error))
            raise broken from error

    def value_of(self, body: Json) -> Any:
        assert self.got is not None
        return values.decode(self.types[self.got.type], body)

    def abandon(self) -> None:
        if self in self.mailbox.receivers:
            self.mailbox.receivers.remove(self)
        if self.got is not None:
            self.mailbox.put_back(self.got)
        super().abandon()

    def _timed_out(self) -> None:
        self.mailbox.receivers.remove(self)
        where = f" on channel {self.channel!r}" if self.channel else ""
        text = f"no {self.name} came in time{where}"
        self.end_badly(Problem(kind="timeout", type="TimedOut", text=text, effect="none"), "none", 1)
