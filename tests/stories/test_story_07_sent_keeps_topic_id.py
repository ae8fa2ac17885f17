"""7, MONEY: Kafka acknowledged a start and lost it; recovery had copied outbox_sent before that ack was booked.

A row in outbox_sent keeps the id of the topic as it was known before the send, and rows whose topic is gone go out
again whenever they are seen, not once.
"""

import pytest

from outbox_relay import Row, sent, table, topics
from outbox_relay.house import House
from outbox_relay.postgres import connect
from outbox_relay.topics import Topic
from tests.integration.relay.outboxes import install
from tests.servers import create_template

SAGAS = "sagas"


class Kafka:
    """What the broker says of the topic."""

    def __init__(self, topic_id: str) -> None:
        self.topic_id = topic_id

    def describe(self, _names: object) -> dict[str, Topic]:
        return {SAGAS: Topic(SAGAS, 4, self.topic_id)}


@pytest.fixture(scope="session")
def database_template(stack) -> str:
    return create_template(stack.database_url, "story-outbox", install)


@pytest.fixture
def session(database_url):
    with connect(database_url, "story") as session:
        session.execute(topics.UPSERT, topics.upsert_params({SAGAS: Topic(SAGAS, 4, "A")}))
        yield session


def house_of(database_url: str, kafka: Kafka) -> House:
    house = House(database_url, "story", kafka, lambda _session: None)
    house.topic_ids = {SAGAS: "A"}
    return house


def add(session, kind: str) -> int:
    row = Row(topic=SAGAS, key="order-7", type="checkout", payload=b"{}", headers={"kind": kind, "saga_id": "order-7"})
    session.execute(table.INSERT_MANY, table.insert_params([row], lambda _topic: 4))
    return session.execute("SELECT max(seq) FROM amends.outbox").fetchone()[0]


def outbox(session) -> list[tuple[str, str]]:
    return session.execute("SELECT kind, id::text FROM amends.outbox ORDER BY seq").fetchall()


def test_an_ack_of_a_lost_topic_that_is_booked_after_the_recovery_is_still_seen(database_url, session):
    kafka = Kafka("A")
    house = house_of(database_url, kafka)
    known_before_the_send = house.topic_ids[SAGAS]
    seq = add(session, "start")
    before = outbox(session)
    kafka.topic_id = "B"  # Kafka acks, and loses it all.
    house._round(session)
    assert house.topic_ids[SAGAS] == "B"
    assert outbox(session) == before  # The recovery has come by, and found nothing in outbox_sent.
    session.execute(table.DELETE_SENT, ([seq], [known_before_the_send]))
    assert outbox(session) == []
    house._due = dict.fromkeys(house._due, 0.0)  # A minute passes.
    house._round(session)
    assert outbox(session) == before  # under its old id: whoever has it knows it


def test_what_went_to_the_topic_that_is_there_is_left_alone(database_url, session):
    house = house_of(database_url, Kafka("A"))
    seq = add(session, "event")
    session.execute(table.DELETE_SENT, ([seq], ["A"]))
    house._round(session)
    assert outbox(session) == []
    assert session.execute("SELECT topic_id FROM amends.outbox_sent").fetchall() == [("A",)]


def test_what_can_be_made_again_is_not_kept(session):
    seqs = [add(session, kind) for kind in ("command", "undo", "settled", "reply")]
    session.execute(table.DELETE_SENT, (seqs, ["A"] * len(seqs)))
    assert sent.resend_lost(session, SAGAS, "B") == 0


def test_a_row_whose_topic_id_nobody_knew_is_not_taken_for_safe(session):
    """A relay whose first question to Kafka is not answered yet."""
    seq = add(session, "start")
    session.execute(table.DELETE_SENT, ([seq], [None]))
    assert sent.resend_lost(session, SAGAS, "B") == 1
