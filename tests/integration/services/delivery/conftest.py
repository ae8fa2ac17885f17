"""The shop, with all that sells running before each test: a test that has killed something need not mend it.

A shop is eight processes, so all its tests but one are serial: three workers would open three.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local.stack import Stack
from tests.integration.services.delivery.shop import SELLING, Shop


@pytest.fixture(scope="session")
def open_shop(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("shop")
    made = Shop(stack, folder)
    made.build()
    made.start(*SELLING)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def shop(open_shop: Shop) -> Shop:
    open_shop.start(*SELLING)
    open_shop.gateway.post("/admin/phase", json={"phase": "normal"}).raise_for_status()
    return open_shop
