"""Which ACLs follow from who somebody is."""

import pytest

from orchestrator.errors import DependencyError
from orchestrator.messaging.acls import Acl, Readers, acls_of, parsed_principals
from orchestrator.messaging.topics import Topics

READERS = Readers(
    Topics("t."),
    frozenset({"t.payments.commands", "t.orders"}),
    {"payments": frozenset({"t.payments.commands", "t.orders"}), "stock": frozenset({"t.stock.commands"})},
)


def acls(*options: str) -> list[str]:
    return [str(acl) for acl in acls_of(parsed_principals(options), READERS)]


def test_an_orchestrator_reads_the_sagas_and_nothing_else() -> None:
    assert acls("worker=User:o") == ["User:o: READ on TOPIC t.sagas"]


def test_a_service_reads_its_commands_and_the_events_it_handles_in_its_group() -> None:
    assert acls("payments=User:p") == [
        "User:p: READ on TOPIC t.orders",
        "User:p: READ on TOPIC t.payments.commands",
        "User:p: READ on GROUP t.payments",
    ]


def test_only_relays_write() -> None:
    everybody = acls_of(
        parsed_principals(f"{who}=User:{who}" for who in ("owner", "worker", "console", "stock")), READERS
    )
    assert not [acl for acl in everybody if acl.operation == "WRITE"]
    assert acls_of([("relay", "User:r")], READERS) == [
        Acl("User:r", "WRITE", "TOPIC", name) for name in ("t.orders", "t.payments.commands", "t.sagas")
    ]


def test_two_names_of_one_user_add_up_without_doubles() -> None:
    assert acls("payments=User:one", "payments=User:one") == acls("payments=User:one")
    assert len(acls("payments=User:one", "stock=User:one")) == 5


@pytest.mark.parametrize("option", ["worker", "worker=", "worker=orchestrator", "=User:x", "worker=User:"])
def test_what_is_no_role_and_user_is_refused(option: str) -> None:
    with pytest.raises(DependencyError, match="not ROLE=USER"):
        acls(option)


def test_who_is_neither_a_role_nor_a_service_is_told_which_there_are() -> None:
    with pytest.raises(DependencyError, match="the services are payments, stock"):
        acls("shipping=User:s")
    with pytest.raises(DependencyError, match="the roles are console, owner, relay, worker"):
        acls("participant=User:s")
    with pytest.raises(DependencyError, match="never talks to Kafka"):
        acls("client=User:c")
