"""Talk to sagas, from a web handler, a job, a script. `Client` is async, `SyncClient` the same without await.

What a request asks of the database is written once, as a generator that yields statements and is sent their rows
(`requests`); the two clients and the caller's own connection are three ways to run one. Only starts, messages and verbs
are written; the saga's tables are read as they are.
"""

from orchestrator.client.answers import Description as Description
from orchestrator.client.answers import Missed as Missed
from orchestrator.client.answers import Moved as Moved
from orchestrator.client.answers import Opened as Opened
from orchestrator.client.answers import Page as Page
from orchestrator.client.answers import SagaRow as SagaRow
from orchestrator.client.answers import ShardTaken as ShardTaken
from orchestrator.client.answers import Started as Started
from orchestrator.client.answers import Status as Status
from orchestrator.client.answers import TookOver as TookOver
from orchestrator.client.answers import Watched as Watched
from orchestrator.client.async_client import Client as Client
from orchestrator.client.sync_client import SyncClient as SyncClient

__all__ = [
    "Client",
    "Description",
    "Missed",
    "Moved",
    "Opened",
    "Page",
    "SagaRow",
    "ShardTaken",
    "Started",
    "Status",
    "SyncClient",
    "TookOver",
    "Watched",
]
