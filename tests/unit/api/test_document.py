"""The document of the API: committed, complete, and the same as the code's."""

from typing import Any

import pytest

from orchestrator.api.application import document
from tests.unit.api.reference import PAGE, openapi_text

OPERATIONS = [
    (path, method, operation) for path, methods in document()["paths"].items() for method, operation in methods.items()
]
IDS = [operation["operationId"] for _, _, operation in OPERATIONS]


def test_the_page_is_what_the_api_says() -> None:
    assert PAGE.read_text() == openapi_text(), "write it again: python -m tests.unit.api.reference"


def test_operations_have_names_of_their_own() -> None:
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=IDS)
def test_an_operation_is_whole(path: str, method: str, operation: Any) -> None:
    assert operation["description"]
    assert operation.get("security") == (None if path == "/v1/health" else [{"HTTPBearer": []}])
    successes = {code: one for code, one in operation["responses"].items() if code < "300"}
    assert successes
    for answer in successes.values():
        [(media_type, content)] = answer["content"].items()
        assert media_type == "text/event-stream" or "$ref" in content["schema"]
    for code, answer in operation["responses"].items():
        if code >= "400":
            assert list(answer["content"]) == ["application/problem+json"]
    assert {"401", "403", "429", "500", "503", "504"} <= set(operation["responses"])
    if method != "get":
        assert {"413", "415", "422"} <= set(operation["responses"])


@pytest.mark.parametrize("name", ["Start", "Send", "Give", "Problem"])
def test_what_is_sent_has_examples(name: str) -> None:
    assert document()["components"]["schemas"][name]["examples"]
