"""What is installed where: migrate, doctor, config."""

import os
from typing import Annotated, Any

import typer

from orchestrator.cli import exits, output
from orchestrator.cli.context import CONTEXT, AsJson, wants_json

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
    as_json: AsJson = False,
) -> None:
    """Make or update tables and topics; safe to repeat.

    The tables in DATABASE_URL, the topics of the app in Kafka.

    A service's database needs --part participant, one that only starts sagas --part outbox.

    Example: amends migrate shop.app:app --part engine --shards 16
    """
    from orchestrator.loading import load_app
    from orchestrator.migrations import ALL_PARTS, migration_sql
    from orchestrator.migrations import migrate as run
    from orchestrator.run import ensure_database, topics_of

    chosen: Any = parts or ALL_PARTS
    if sql:
        print(migration_sql(chosen))
        return
    settings = CONTEXT.settings()
    app = load_app(target) if target else None
    topics = topics_of(app, settings.topic_prefix)
    if not os.environ.get("DATABASE_URL"):
        ensure_database(settings.database_url.get_secret_value())  # of the local stack, which is ours to fill
    run(
        settings.database_url.get_secret_value(),
        parts=chosen,
        shards=shards,
        topic_prefix=settings.topic_prefix,
        topics=topics,
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
    )
    if wants_json(as_json):
        output.print_json({"parts": list(chosen), "topics": sorted(topics)})
        return
    output.say(f"migrated: {', '.join(chosen)}; topics: {', '.join(sorted(topics)) or 'those of the runtime only'}")
    if app is None:
        output.say("to make the topics of your commands and events too, say whose: amends migrate shop.app:app")


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
