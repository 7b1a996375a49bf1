from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from barnabas.refusal import refusal
from schemas.errors import Problem


def test_a_problem_becomes_the_error_that_it_names() -> None:
    body = {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "Kafka can't be reached",
        "code": "broker.unavailable",
        "retryable": True,
    }
    error = refusal(503, {"Retry-After": "2"}, json.dumps(body).encode())
    assert error.problem() == Problem("broker.unavailable", "Kafka can't be reached", retryable=True)
    assert (error.status, error.retry_after) == (503, 2.0)


def test_the_field_is_kept() -> None:
    error = refusal(422, {}, b'{"code": "payload.invalid", "detail": "no", "field": "payload.expression"}')
    assert str(error) == "payload.expression: no"


@given(status=st.integers(400, 599), body=st.binary(max_size=200))
def test_any_answer_is_an_error(status: int, body: bytes) -> None:
    error = refusal(status, {}, body)
    assert error.code
    assert error.message


def test_an_answer_of_a_proxy_is_told_by_its_status() -> None:
    error = refusal(502, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"<html>")
    assert (error.code, error.message, error.retry_after) == ("http.502", "Bad Gateway", None)
