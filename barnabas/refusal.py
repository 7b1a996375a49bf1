"""Pure: an answer that says no (RFC 9457 `application/problem+json`) as the error that it stands for."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from barnabas.errors import EdgeError
from schemas.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Body(msgspec.Struct):
    title: str = ""
    detail: str = ""
    code: str = ""
    field: str | None = None
    retryable: bool = False


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> EdgeError:
    """Return the error that an HTTP answer of 400 and more stands for.

    A body that is no problem, as a proxy in between may send, gives the code `http.<status>`.
    """
    try:
        said = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Body()
    phrase = next((known.phrase for known in HTTPStatus if known == status), f"HTTP {status}")
    problem = Problem(
        code=said.code or f"http.{status}",
        message=said.detail or said.title or phrase,
        field=said.field,
        retryable=said.retryable,
    )
    after = headers.get("Retry-After", "")
    return EdgeError(problem, status=status, retry_after=float(after) if after.isdecimal() else None)
