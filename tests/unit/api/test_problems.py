"""Each error has one status; what is ours to mend says nothing of its inside."""

import json
from typing import Any

import psycopg
import pytest

from orchestrator import errors
from orchestrator.api.problems import http_problem, problem_of
from outbox_relay.errors import OutboxError, RowRefused, TopicUnknown


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (errors.SagaNotFound("x"), 404, "saga-not-found"),
        (errors.VerbNotFound("x"), 404, "verb-not-found"),
        (errors.SagaIdTaken("x"), 409, "saga-id-taken"),
        (errors.SagaEnded("x"), 409, "saga-ended"),
        (errors.RequestError("x"), 422, "request-refused"),
        (errors.PayloadError("x"), 422, "payload-refused"),
        (RowRefused("x"), 422, "payload-refused"),
        (errors.DependencyError("x"), 503, "unavailable"),
        (errors.DefinitionError("x"), 503, "unavailable"),
        (psycopg.OperationalError("server closed the connection"), 503, "unavailable"),
        (errors.AmendsError("x"), 500, "failed"),
        (OutboxError("x"), 500, "failed"),
        (ValueError("password=hunter2"), 500, "bug"),
    ],
)
def test_an_error_has_its_place(error: Exception, status: int, name: str) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.name) == (status, name)
    content = json.loads(problem.body("/v1/sagas/a"))
    assert set(content) == {"type", "title", "status", "detail", "instance"}
    assert (content["type"], content["instance"]) == (f"urn:amends:{name}", "/v1/sagas/a")
    assert "hunter2" not in content["detail"]


def test_a_topic_that_is_missing_is_no_fault_of_the_caller() -> None:
    unknown: Any = TopicUnknown.__new__(TopicUnknown)
    assert problem_of(unknown).status == 503


def test_a_problem_is_ascii_whatever_was_sent() -> None:
    body = http_problem(404, "\udcff é").body("/v1/\udcff")
    assert json.loads(body.decode("ascii"))["instance"] == "/v1/\udcff"


def test_what_may_be_tried_again_says_when() -> None:
    assert problem_of(errors.DependencyError("x")).headers == {"Retry-After": "1"}
