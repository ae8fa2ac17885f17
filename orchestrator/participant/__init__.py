"""The services' kit: handle commands, follow events, each exactly once in your own database.

A message comes from Kafka in a batch. One transaction locks the inbox rows of its keys (`inbox`), asks the state
machine what to do (`inbox_states`), runs `local` handlers one after the other, writes `running` for `external` ones,
and adds the answers to the outbox. Only then the offsets move on. An external call is made afterwards with no
transaction open (`external`); a second transaction stores how it ended (`ends`). If the process dies in between, the
row's deadline passes, and whoever scans the table next (`scan`) looks the outcome up. Retries live in the orchestrator:
a participant answers `retry` and forgets about it, serialization failures of its own transaction excepted.
"""

from orchestrator.participant.breaker import Breaker as Breaker
from orchestrator.participant.handlers import ExternalHandler as ExternalHandler
from orchestrator.participant.handlers import ExternalUndo as ExternalUndo
from orchestrator.participant.handlers import LocalHandler as LocalHandler
from orchestrator.participant.handlers import Participant as Participant
from orchestrator.participant.handling import Handling as Handling
from orchestrator.participant.handling import Transaction as Transaction
