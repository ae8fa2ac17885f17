"""An answer that does not echo the nonce of its command is none, whoever may write to the topic of sagas."""

from uuid import uuid4

from confluent_kafka import Producer

from orchestrator import Saga, SyncClient, saga
from orchestrator.core.ids import OperationKey
from orchestrator.messaging import outgoing
from orchestrator.messaging.topics import Topics
from tests.deadlines import deadline, eventually
from tests.integration.engine import program
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post, ledger


@saga
async def booking_of_one(s: Saga, account: str) -> int:
    return await s.call(Post(account=account, amount=1))


def forge(system: System, uid: str, shard: int) -> None:
    """A yes that nobody gave, to the right saga and operation, with a nonce that was guessed."""
    topic = Topics(system.settings.topic_prefix).sagas
    to = outgoing.ReturnAddress(
        reply_to=outgoing.reply_to(topic, shard),
        saga_id="victim",
        operation_key=str(OperationKey(uid, 0, 0)),
        attempt=1,
        nonce="0" * 32,
    )
    row = outgoing.succeeded_row(to, command=Post, body=999)
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    headers = [("id", str(uuid4()).encode()), ("type", row.type.encode())]
    headers += [(name, str(value).encode()) for name, value in row.headers.items()]
    producer.produce(topic, row.payload, b"victim", shard, headers=headers)
    assert producer.flush(30) == 0


def test_a_forged_answer_is_read_and_counts_for_nothing(system: System) -> None:
    for statement in program.TABLES.split(";"):
        if statement.strip():
            system.execute(statement)
    system.relay()
    system.orchestrator([booking_of_one])
    with SyncClient(system.settings) as client:
        client.start(booking_of_one, "till", id="victim")
        journal = "SELECT uid, s.shard FROM amends.sagas s JOIN amends.journal USING (saga_no)"
        ((uid, shard),) = eventually(lambda: system.rows(journal), 30, "the call in the journal")
        forge(system, str(uid), shard)
        # A claim that finds the saga queued may begin it before its start is read: that start counts as ignored, too.
        ignored = "SELECT last_saga_id, count FROM amends.ignored WHERE starts_with(reason, 'forged')"
        counted = eventually(lambda: system.rows(ignored), 30, "the forgery in the count of what was ignored")
        assert counted == [("victim", 1)]
        assert system.rows("SELECT status, result FROM amends.sagas") == [("running", None)]
        system.participants([ledger])  # whoever really answers, answers afterwards
        assert client.result(booking_of_one, "victim", timeout=deadline(60)) == 1
