"""A schema registry for who asks for one, and a process that knows none before and after."""

from collections.abc import Iterator

import pytest

from tests.schema_registry import SchemaRegistry


@pytest.fixture
def schema_registry() -> Iterator[SchemaRegistry]:
    """It listens; a test may stop it and start it again."""
    from orchestrator.messaging import framing

    registry = SchemaRegistry()
    registry.start()
    framing.forget()
    yield registry
    framing.forget()
    registry.stop()
