"""What a client need not ask twice."""

import socket

from orchestrator.client.known import Known, Looked, keep
from orchestrator.client.statements import Query

HAS = Query("SELECT has", lasting=True)


def test_a_yes_lasts_and_a_no_is_asked_again() -> None:
    answers = Known().of()
    keep(answers, HAS, [(False,)])
    assert not answers
    keep(answers, HAS, [(True,)])
    assert answers == {HAS.sql: [(True,)]}
    keep(answers, Query("SELECT now"), [(1,)])
    assert answers == {HAS.sql: [(True,)]}


def test_a_session_that_may_be_bound_anew_keeps_nothing() -> None:
    known, session = Known(), object()
    keep(known.of(session), HAS, [(True,)])
    assert not known.of(session)
    assert known.of() is known.of()


class Connection:
    """Has a socket."""

    def __init__(self, own: socket.socket) -> None:
        self.own = own

    def fileno(self) -> int:
        return self.own.fileno()


def test_a_connection_is_looked_at_again_when_it_was_told_something() -> None:
    server, client = socket.socketpair()
    with server, client:
        looked, connection = Looked(), Connection(client)
        assert looked.is_due(connection)  # type: ignore[arg-type]
        assert not looked.is_due(connection)  # type: ignore[arg-type]
        server.send(b"E: the server is shutting down")
        assert looked.is_due(connection)  # type: ignore[arg-type]
