"""The document that the API gives of itself, and how a refusal stands in it."""

from http import HTTPStatus
from typing import Any

from orchestrator.api import models
from orchestrator.api.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]


def refusals(*statuses: int) -> Responses:
    """Each as a Problem."""
    return {
        status: {"model": models.Problem, "description": HTTPStatus(status).phrase} for status in sorted(set(statuses))
    }


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """A Problem has a media type of its own, which FastAPI can't be told by model."""
    problem = {"$ref": "#/components/schemas/Problem"}
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if content.get("application/json", {}).get("schema") == problem:
                    response["content"] = {MEDIA_TYPE: content["application/json"]}
    return document
