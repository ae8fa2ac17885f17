"""What an orchestrator of the shop runs: `amends orchestrator services.sagas:app`.

Apart from `services.app`, so that this process imports no participant, and so no SQLAlchemy and no httpx: after a crash
it is back in the time that Python takes to start.
"""

from orchestrator import App
from services.checkout import checkout
from services.delivery.saga import delivery, dispatch

app = App(sagas=[checkout, delivery, dispatch])
