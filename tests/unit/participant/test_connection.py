"""Which SQL a handler may not send, and which errors mean what."""

import psycopg
import pytest

from orchestrator.participant.connection import (
    TransactionIsOurs,
    _refuse_transaction_words,
    is_conflict,
    is_connection_loss,
)


class Lent:
    lent = True


@pytest.mark.parametrize(
    "query",
    ["COMMIT", " commit ;", b"COMMIT", "ROLLBACK", "rollback work", "END", "ABORT;", "BEGIN", "START TRANSACTION",
     "PREPARE TRANSACTION 'x'"],
)  # fmt: skip
def test_what_ends_a_transaction_is_refused(query):
    with pytest.raises(TransactionIsOurs, match="savepoint"):
        _refuse_transaction_words(Lent(), query)


@pytest.mark.parametrize(
    "query",
    ["SELECT 1", "SAVEPOINT a", "ROLLBACK TO SAVEPOINT a", "rollback to a", "RELEASE a", "PREPARE q AS SELECT 1",
     "INSERT INTO commits VALUES (1)", "", "UPDATE t SET x = 'COMMIT'"],
)  # fmt: skip
def test_what_stays_inside_is_not(query):
    _refuse_transaction_words(Lent(), query)


def test_errors_are_told_apart_through_what_wraps_them():
    class Wrapped(Exception):
        orig = None

    wrapped = Wrapped()
    wrapped.orig = psycopg.errors.SerializationFailure()
    assert is_conflict(wrapped)
    assert is_conflict(psycopg.errors.DeadlockDetected())
    assert not is_conflict(psycopg.errors.UniqueViolation())
    assert is_connection_loss(psycopg.errors.AdminShutdown())
    assert is_connection_loss(psycopg.errors.IdleInTransactionSessionTimeout())
    assert is_connection_loss(psycopg.OperationalError("connection refused"))
    assert not is_connection_loss(psycopg.errors.QueryCanceled())
    assert not is_connection_loss(psycopg.errors.InFailedSqlTransaction())
    assert not is_connection_loss(ValueError())
