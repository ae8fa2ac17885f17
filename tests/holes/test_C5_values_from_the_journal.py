"""C5, MONEY: live code walked the dict that its step had made, the replay one whose keys were in another order; each
key's call then had the other's number.
"""

from typing import Any

from orchestrator import App, OperationFailed, Retry, Saga, SyncClient, saga
from tests.deadlines import deadline, eventually
from tests.integration.engine import program
from tests.integration.engine.kit import System
from tests.integration.engine.program import Post, ledger


def shares() -> dict[str, Any]:
    return {"zeta": 3, "b": -0.0, "a": 1e2, "m": (1, 2)}


class OutOfTune(KeyError):
    pass


def declines() -> None:
    raise OutOfTune("zeta")


@saga
async def walks(s: Saga, account: str) -> str:
    found = await s.step(shares)
    for key in found:
        await s.call(Post(account=f"{account} {key}", amount=1))
    try:
        await s.step(declines, retry=Retry.never)
    except LookupError:
        await s.call(Post(account=f"{account} live", amount=1))
    except OperationFailed:
        await s.call(Post(account=f"{account} written", amount=1))
    await s.receive(program.Go)
    return repr(found)


app = App(sagas=[walks], participants=[ledger])
APP = f"{__name__}:app"


def test_whoever_reads_it_from_postgres_goes_the_way_that_was_gone(books: System) -> None:
    with SyncClient(books.settings) as client:
        client.start(walks, "w", id="w")
        for hit in (3, 5):
            doomed = books.orchestrator_process(failpoints=f"engine.commit.after=kill@{hit}", app=APP)
            eventually(lambda one=doomed: one.ended, 60, f"the death at commit {hit}")
        books.orchestrator_process(app=APP)
        client.send("w", program.Go())
        result = client.result(walks, "w", timeout=deadline(60))
    assert result == "{'zeta': 3, 'b': -0.0, 'a': 100.0, 'm': [1, 2]}"
    keys = books.rows("SELECT account FROM bookings ORDER BY split_part(key, ':', 3)::int")
    assert keys == [("w zeta",), ("w b",), ("w a",), ("w m",), ("w written",)]
