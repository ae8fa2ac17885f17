"""A saga type for clients: they need its name, its version and its two types."""

from dataclasses import dataclass
from typing import Any

from tests.integration.client.sagas import Order, Receipt


@dataclass(frozen=True)
class Type:
    name: str
    version: int = 1
    input_type: Any = Order
    result_type: Any = Receipt


checkout: Any = Type("checkout", 3)
dispatch: Any = Type("dispatch", 1, str, str)
