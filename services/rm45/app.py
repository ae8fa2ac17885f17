"""All of it, for `amends migrate services.rm45.app:app`: the topics of the saga and of its participant."""

from orchestrator import App
from services.rm45.pay import pay
from services.rm45.payments import with_key_and_breaker

app = App(sagas=[pay], participants=[with_key_and_breaker])
