"""Which refusals of Postgres end a process at its start, and which are waited out."""

import psycopg
import pytest

from orchestrator.errors import DependencyError
from orchestrator.first_session import refuse_what_stays_so

URL = "postgresql://shop:geheim@db:5432/orders"


@pytest.mark.parametrize(
    "said",
    [
        'FATAL:  password authentication failed for user "shop"',
        'FATAL:  database "orders" does not exist',
        'FATAL:  role "shop" does not exist',
        'FATAL:  role "shop" is not permitted to log in',
        'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "shop", database "orders", no encryption',
        "fe_sendauth: no password supplied",
        "server does not support SSL, but SSL was required",
    ],
)
def test_what_no_waiting_mends_is_raised_without_the_password(said: str) -> None:
    with pytest.raises(DependencyError) as caught:
        refuse_what_stays_so(psycopg.OperationalError(f"connection failed: {said}"), URL)
    assert " ".join(said.split()) in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        'connection to server at "127.0.0.1", port 5432 failed: Connection refused',
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is shutting down",
        "FATAL:  sorry, too many clients already",
        'could not translate host name "db" to address: Temporary failure in name resolution',
        "connection timeout expired",
    ],
)
def test_what_may_mend_itself_is_waited_for(said: str) -> None:
    refuse_what_stays_so(psycopg.OperationalError(said), URL)
