"""What is installed where: migrate, doctor, config."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import exits, output
from orchestrator.cli.context import CONTEXT, AsJson, wants_json
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.app import App
    from orchestrator.messaging.acls import Acl

AppArgument = Annotated[
    str | None,
    typer.Argument(metavar="[MODULE:APP]", envvar="AMENDS_APP", help="Whose topics, as in shop.app:app."),
]


def add_to(app: typer.Typer) -> None:
    """Register this group's commands."""
    for name, command in (
        ("migrate", migrate),
        ("doctor", doctor),
        ("config", config),
    ):
        app.command(name)(command)


def migrate(
    target: AppArgument = None,
    parts: Annotated[
        list[str] | None, typer.Option("--part", help="engine, participant, outbox; again for each. Else all.")
    ] = None,
    shards: Annotated[
        int | None, typer.Option("--shards", min=1, help="Fixed at the first time; 8 by default.")
    ] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Only print the SQL.")] = False,
    roles: Annotated[
        bool, typer.Option("--roles", help="Also make Postgres roles, each with what its processes need.")
    ] = False,
    role_prefix: Annotated[
        str, typer.Option("--role-prefix", metavar="NAME", help="Roles are called NAME_worker and so on.")
    ] = "amends",
    principals: Annotated[
        list[str] | None,
        typer.Option(
            "--principal",
            metavar="ROLE=USER",
            help="Also give a Kafka user its ACLs. ROLE: owner, worker, relay, console or a service. Again for each.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make or update tables and topics; safe to repeat.

    The tables in DATABASE_URL, the topics of the app in Kafka. A service's database needs --part participant, one that
    only starts sagas --part outbox. --roles and --principal set rights: docs/operations/roles.md says who has which.

    Example: amends migrate shop.app:app --part engine --roles --principal worker=User:orchestrator
    """
    from orchestrator.loading import load_app
    from orchestrator.migrations import ALL_PARTS, migration_sql
    from orchestrator.migrations import migrate as run
    from orchestrator.run import ensure_database, topics_of

    chosen: Any = parts or ALL_PARTS
    if sql:
        print(migration_sql(chosen, role_prefix if roles else ""))
        return
    settings = CONTEXT.settings()
    app = load_app(target) if target else None
    topics = topics_of(app, settings.topic_prefix)
    acls = _acls(principals or [], app, settings)
    if not os.environ.get("DATABASE_URL"):
        ensure_database(settings.database_url.get_secret_value())  # of the local stack, which is ours to fill
    todo = run(
        settings.database_url.get_secret_value(),
        parts=chosen,
        shards=shards,
        topic_prefix=settings.topic_prefix,
        topics=topics,
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
        kafka_login=settings.kafka_login(),
        role_prefix=role_prefix if roles else "",
    )
    added = _granted(acls, settings)
    if wants_json(as_json):
        rights = {"todo": todo, "acls_added": None if added is None else [str(acl) for acl in added]}
        output.print_json({"parts": list(chosen), "topics": sorted(topics), **rights})
        return
    output.say(f"migrated: {', '.join(chosen)}; topics: {', '.join(sorted(topics)) or 'those of the runtime only'}")
    if app is None:
        output.say("to make the topics of your commands and events too, say whose: amends migrate shop.app:app")
    if roles:
        output.say(f"roles: {role_prefix}_*; left for a DBA: {len(todo) or 'nothing'}")
    output.print_lines([*todo, *map(str, added or [])])


def _acls(principals: Sequence[str], app: "App | None", settings: Settings) -> "list[Acl]":
    """What the `--principal` options ask for. Raises DependencyError where they can't be understood."""
    from orchestrator.messaging.acls import acls_of, parsed_principals
    from orchestrator.run import readers_of

    return acls_of(parsed_principals(principals), readers_of(app, settings.topic_prefix))


def _granted(acls: "list[Acl]", settings: Settings) -> "list[Acl] | None":
    """Those that were missing and are there now; None where the brokers enforce none."""
    from orchestrator.messaging.kafka_admin import Admin

    if not acls:
        return []
    added = Admin(settings.for_kafka().kafka_bootstrap_servers, settings.kafka_login()).allow(acls)
    if added is None:
        output.say("Kafka has no authorizer: there are no ACLs to set, and whoever reaches it may do everything")
    else:
        output.say(f"Kafka: {len(acls)} ACLs, {len(added)} of them new")
    return added


def doctor(as_json: AsJson = False) -> None:
    """Look for what is wrong, and say what to do.

    Postgres and Kafka: reachable, new enough, set up in a way that hurts? Exit code 8 if something is bad.

    Example: amends doctor
    """
    from orchestrator.doctor import judge
    from orchestrator.doctor_facts import kafka_facts, postgres_facts

    settings = CONTEXT.settings()
    postgres = postgres_facts(settings)
    findings = judge(postgres, kafka_facts(settings, sorted(postgres.topics)))
    if wants_json(as_json):
        output.print_json(findings)
    else:
        for finding in findings:
            print(f"{finding.level:<8} {finding.subject}: {finding.text}")
            if finding.todo:
                print(f"{'':<8} -> {finding.todo}")
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(exits.UNHEALTHY)


def config(as_json: AsJson = False) -> None:
    """Print each setting and where it came from.

    Passwords are hidden.

    Example: amends config
    """
    from orchestrator.settings import origins

    found = list(origins(CONTEXT.settings(), os.environ))
    if wants_json(as_json):
        output.print_json(found)
        return
    output.print_table(["variable", "value", "from"], [[one.variable, one.value, one.origin] for one in found])
