"""The API on databases with the orchestrator's and a service's tables; no worker runs on them. It logs in as somebody
who is a client and at the console, as docs/reference/http.md says.
"""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from pydantic import SecretStr

from orchestrator.api import Api, Token, create_api
from orchestrator.api.tokens import sha256_of
from orchestrator.local.stack import Stack
from orchestrator.migrations import migrate
from orchestrator.settings import Settings
from tests import roles
from tests.roles import as_role
from tests.servers import create_template

TOKENS = (Token("ada", "operate", sha256_of("A")), Token("bob", "read", sha256_of("B")))
ADA, BOB = {"Authorization": "Bearer A"}, {"Authorization": "Bearer B"}


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    """All parts, with four shards."""
    return create_template(stack.database_url, "api", _build)


def _build(url: str) -> None:
    migrate(url, shards=4)
    roles.grant(url)


@pytest.fixture
def settings(database_url: str) -> Settings:
    url = as_role(database_url, "person")
    return Settings(
        database_url=url,  # type: ignore[arg-type]
        api_service_databases=SecretStr(f"shop={url} gone=postgresql://127.0.0.1:1/gone"),
        client_connect_timeout_s=2,
    )


@pytest.fixture
def make_api(settings: Settings) -> Callable[..., Api]:
    """With tokens, unless others are given."""
    return lambda **more: create_api(settings, **{"tokens": TOKENS, **more})


@pytest.fixture
async def asks(make_api: Callable[..., Api]) -> AsyncIterator[httpx.AsyncClient]:
    """As ada, who may operate."""
    api = make_api()
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with (
        api.running(),
        httpx.AsyncClient(transport=transport, base_url="http://amends", headers=ADA) as client,
    ):
        yield client
