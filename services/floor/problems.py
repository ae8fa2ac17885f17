"""Errors as application/problem+json: what happened, what is unchanged, what to do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ClassVar

MEDIA_TYPE = "application/problem+json"


class Refusal(Exception):
    """Something can't be done. Its text is for whoever asked: what, why, and what is unchanged."""

    status: ClassVar[int]
    name: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Problem:
    """`name` is the last part of `type`; the page tells problems apart by it, a person reads `detail`."""

    status: int
    name: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, instance: str) -> bytes:
        """`instance`: the path of the request."""
        content = {
            "type": f"urn:amends:floor:{self.name}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        return json.dumps(content).encode("ascii")
