"""A second run needs no cleaning: what the former one left is dropped, with the slots that would forbid it."""

import secrets
from dataclasses import replace
from pathlib import Path

import psycopg
from confluent_kafka.admin import AdminClient, NewTopic

from orchestrator.local.stack import Stack
from services.demo.world import World, create_database, database_of, forget_former_run, leave_addresses, with_database
from tests.deadlines import deadline, eventually

EXISTS = "SELECT count(*) FROM pg_database WHERE datname = ANY(%s)"
SLOT = "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')"


def world_in(folder: Path, stack: Stack) -> World:
    run = f"t_{secrets.token_hex(3)}"
    urls = {name: with_database(stack.database_url, f"shop_{run}_{name}") for name in ("orchestrator", "stock")}
    return World(run, folder, stack, urls, 1)


def existing(world: World) -> int:
    with psycopg.connect(world.stack.database_url) as connection:
        row = connection.execute(EXISTS, [[database_of(url) for url in world.urls.values()]]).fetchone()
    assert row is not None
    return int(row[0])


def test_the_next_run_drops_the_databases_of_the_former_one(stack: Stack, tmp_path: Path) -> None:
    former, later = world_in(tmp_path, stack), world_in(tmp_path, stack)
    leave_addresses(former)
    for name in former.urls:
        create_database(former, name)
    former.gateway_book.touch()
    with psycopg.connect(former.urls["stock"], autocommit=True) as reader:
        reader.execute(SLOT, [f"slot_{former.run}"])
        assert existing(former) == 2
        forget_former_run(later)  # although somebody is still connected
    assert existing(former) == 0
    assert not former.gateway_book.exists()


def test_the_next_run_deletes_the_topics_of_the_former_one(stack: Stack, tmp_path: Path) -> None:
    former = world_in(tmp_path, stack)
    leave_addresses(former)
    admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap_servers})
    for made in admin.create_topics([NewTopic(f"{former.topic_prefix}sagas", 1)]).values():
        made.result(deadline(30))
    forget_former_run(world_in(tmp_path, stack))
    eventually(lambda: former.topic_prefix not in " ".join(admin.list_topics(timeout=30).topics), 30, "topics deleted")


def test_a_world_on_another_server_is_left_alone(stack: Stack, tmp_path: Path) -> None:
    former = world_in(tmp_path, stack)
    for name in former.urls:
        create_database(former, name)
    elsewhere = replace(former, urls={name: url.replace("@", "@other.") for name, url in former.urls.items()})
    leave_addresses(elsewhere)
    forget_former_run(world_in(tmp_path, stack))
    assert existing(former) == 2
    leave_addresses(former)
    forget_former_run(world_in(tmp_path, stack))
    assert existing(former) == 0


def test_the_first_run_has_nothing_to_forget(stack: Stack, tmp_path: Path) -> None:
    forget_former_run(world_in(tmp_path, stack))
