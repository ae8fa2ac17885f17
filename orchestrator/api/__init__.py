"""The HTTP API: sagas started, seen, and helped by a person, from any language. It needs the extra `amends[api]`.

    amends api                                  # on 127.0.0.1, for this machine
    app.mount("/amends", create_api(...))       # in an application of yours

It speaks to the client and to nothing below it: what it answers is what `amends` prints. docs/reference/http.md.
"""

from orchestrator.api.application import Api as Api
from orchestrator.api.application import create_api as create_api
from orchestrator.api.local_only import Bounds as Bounds
from orchestrator.api.local_only import LocalOnly as LocalOnly
from orchestrator.api.tokens import Token as Token

__all__ = ["Api", "Bounds", "LocalOnly", "Token", "create_api"]
