"""Rule 14. A person's word is a row in Postgres, looked at in every round: a backlog of messages, however long,
does not stand before it.
"""

from confluent_kafka import Producer

from orchestrator import Message, Saga, SyncClient, saga
from orchestrator.messaging import outgoing
from orchestrator.messaging.topics import Topics
from outbox_relay.rows import murmur2
from tests.deadlines import eventually
from tests.integration.engine.kit import SHARDS, System

BACKLOG = 4_000  # several rounds
VERB_AT_THE_THIRD_TURN = """
    CREATE FUNCTION interrupt() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO amends.verbs (saga_id, shard, verb) SELECT id, shard, 'terminate' FROM amends.sagas;
        RETURN NULL;
    END $$;
    CREATE TRIGGER interrupt AFTER INSERT ON amends.journal
        FOR EACH ROW WHEN (NEW.pos = 3) EXECUTE FUNCTION interrupt();
"""


class Tick(Message):
    n: int


@saga
async def runaway(s: Saga, _: int) -> None:
    while True:
        await s.receive(Tick)


def send_backlog(system: System) -> None:
    """Straight into the saga's shard."""
    topic, shard = Topics(system.settings.topic_prefix).sagas, murmur2(b"r") % SHARDS
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    for n in range(BACKLOG):
        row = outgoing.message_row(topic=topic, shard=shard, saga_id="r", wire_name="Tick", body={"n": n})
        headers = [("id", outgoing.message_uuid("r", str(n)).encode()), ("type", b"Tick")]
        headers += [(name, value.encode()) for name, value in row.headers.items()]
        producer.produce(topic, row.payload, b"r", shard, headers=headers)
    assert producer.flush(30) == 0


def test_terminate_is_heard_in_the_middle_of_a_backlog(system: System) -> None:
    stop_relay = system.relay()
    with SyncClient(system.settings) as client:
        client.start(runaway, 0, id="r")
    eventually(lambda: not system.rows("SELECT 1 FROM amends.outbox"), 30, "the start in Kafka")
    stop_relay()
    send_backlog(system)
    system.execute(VERB_AT_THE_THIRD_TURN)
    system.orchestrator([runaway])
    turns = "SELECT count(*)::int FROM amends.journal"
    ended = "SELECT 1 FROM amends.sagas WHERE status = 'terminated'"
    eventually(lambda: system.rows(ended) or system.rows(turns)[0][0] > BACKLOG, 60, "the end of saga or backlog")
    assert system.rows(ended)
    heard_at = system.rows(turns)[0][0]
    assert heard_at < BACKLOG
    letters = "SELECT count(*)::int FROM amends.dead_letters"
    rest = BACKLOG - (heard_at - 2)  # the start and the verb are turns too
    eventually(lambda: system.rows(letters) == [(rest,)], 30, "the rest where people find it")
