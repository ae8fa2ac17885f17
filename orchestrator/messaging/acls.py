"""Which rights each kind of process needs in Kafka: a table, and the ACLs that follow from it for an app's topics.

Nothing is denied by name: with an authorizer, what nobody was allowed is forbidden. Read and Write include Describe.
Nobody but relays writes to `sagas`, which is the control plane.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from orchestrator.errors import DependencyError
from orchestrator.messaging.topics import Topics

Operation = Literal["CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE"]
Resource = Literal["TOPIC", "GROUP", "BROKER"]
Scope = Literal["sagas", "all topics", "what it reads", "its group", "cluster"]

CLUSTER: Final = "kafka-cluster"  # Kafka's own name for the one resource of its kind
SERVICE: Final = "participant"

# Role -> operations on what. A participant is named by its service.
RIGHTS: Mapping[str, Mapping[Scope, Sequence[Operation]]] = {
    "owner": {"all topics": ("CREATE", "DESCRIBE")},
    "worker": {"sagas": ("READ",)},
    SERVICE: {"what it reads": ("READ",), "its group": ("READ",)},
    "relay": {"all topics": ("WRITE",)},
    "console": {"all topics": ("DESCRIBE", "DESCRIBE_CONFIGS"), "cluster": ("DESCRIBE_CONFIGS",)},
}


@dataclass(frozen=True, slots=True)
class Acl:
    """One thing that one user may do, from anywhere."""

    principal: str
    operation: Operation
    resource: Resource
    name: str

    def __str__(self) -> str:
        return f"{self.principal}: {self.operation} on {self.resource} {self.name}"


@dataclass(frozen=True, slots=True)
class Readers:
    """An app's topics, full names, and which of them each service reads."""

    topics: Topics
    all_topics: frozenset[str]
    services: Mapping[str, frozenset[str]]


def parsed_principals(options: Iterable[str]) -> list[tuple[str, str]]:
    """`worker=User:orchestrator` -> (role or service, principal). Raises DependencyError."""
    parsed = []
    for option in options:
        role, equals, principal = option.partition("=")
        kind, colon, name = principal.partition(":")
        if not (role and equals and kind and colon and name):
            raise DependencyError(f"--principal {option}: not ROLE=USER, as in worker=User:orchestrator")
        if role == "client":
            raise DependencyError(f"--principal {option}: a client never talks to Kafka")
        parsed.append((role, principal))
    return parsed


def acls_of(principals: Iterable[tuple[str, str]], readers: Readers) -> list[Acl]:
    """All that these principals need. Raises DependencyError for a name that is neither a role nor a service here."""
    found: dict[Acl, None] = {}
    for role, principal in principals:
        if role not in readers.services and (role not in RIGHTS or role == SERVICE):
            roles = ", ".join(sorted(RIGHTS.keys() - {SERVICE}))
            services = ", ".join(sorted(readers.services)) or "none: say whose, amends migrate shop.app:app"
            raise DependencyError(f"--principal {role}={principal}: the roles are {roles}; the services are {services}")
        rights = RIGHTS[SERVICE if role in readers.services else role]
        for scope, operations in rights.items():
            for resource, name in _named(scope, role, readers):
                found |= dict.fromkeys(Acl(principal, operation, resource, name) for operation in operations)
    return list(found)


def _named(scope: Scope, service: str, readers: Readers) -> list[tuple[Resource, str]]:
    match scope:
        case "sagas":
            return [("TOPIC", readers.topics.sagas)]
        case "all topics":
            return [("TOPIC", name) for name in sorted(readers.all_topics | {readers.topics.sagas})]
        case "what it reads":
            return [("TOPIC", name) for name in sorted(readers.services[service])]
        case "its group":
            return [("GROUP", readers.topics.group(service))]
        case "cluster":
            return [("BROKER", CLUSTER)]
