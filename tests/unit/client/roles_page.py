"""Write the tables of docs/operations/roles.md from the code: python -m tests.unit.client.roles_page."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.messaging.acls import RIGHTS, SERVICE
from orchestrator.migrations.roles import GRANTED, OBJECTS, PREFIX_DEFAULT, ROLES, USERS, role_name

PAGE = Path(__file__).parents[3] / "docs" / "operations" / "roles.md"

PARTS = {
    "outbox": "in every database that writes messages",
    "participant": "in a service's own",
    "engine": "in the orchestrator's",
}
SCOPES = {
    "sagas": "`P`sagas",
    "all topics": "all topics",
    "what it reads": "`P`SERVICE.commands (not if it only listens), and the event topics that it handles",
    "its group": "the group `P`SERVICE",
    "cluster": "the cluster",
}


def roles_table() -> str:
    rows = [[f"`{role_name(PREFIX_DEFAULT, role)}`", USERS[role]] for role in ROLES]
    return "\n".join(_table(["role", "who logs in under it"], rows))


def postgres_table() -> str:
    """Objects x roles, part by part."""
    lines: list[str] = []
    for part, where in PARTS.items():
        rows = [
            [f"`{one.name}`", *(one.grants.get(role, "") for role in GRANTED)] for one in OBJECTS if one.part == part
        ]
        lines += ["", *_table([where, *GRANTED], rows)]
    return "\n".join(lines[1:])


def kafka_table() -> str:
    rows = [
        [role, SCOPES[scope], ", ".join(one.capitalize().replace("Describe_configs", "DescribeConfigs") for one in ops)]
        for role, rights in RIGHTS.items()
        for scope, ops in rights.items()
    ]
    return "\n".join(_table(["role", "on", "operations"], [[_named(row[0]), *row[1:]] for row in rows]))


def _named(role: str) -> str:
    return "a service" if role == SERVICE else f"`{role}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *_rows(rows)]


def _rows(rows: Iterable[Sequence[str]]) -> list[str]:
    return [re.sub(r"  +\|", " |", f"| {' | '.join(row)} |") for row in rows]


def page() -> str:
    """The page with its tables as they must be."""
    text = PAGE.read_text()
    for name, table in (("roles", roles_table()), ("postgres", postgres_table()), ("kafka", kafka_table())):
        text = re.sub(
            rf"<!-- {name} -->\n.*?<!-- end -->", f"<!-- {name} -->\n{table}\n<!-- end -->", text, flags=re.DOTALL
        )
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
