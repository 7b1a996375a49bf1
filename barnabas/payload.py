"""Payloads and steps as they are typed: JSON, `@file`, or `-` for standard input.

A file that is no JSON, such as a mail, is the field `raw` of a kind that has one; its bytes that are no UTF-8 are
`raw_base64`; and a large one is uploaded as a stream, where the kind takes that, and named by `raw_ref`.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from barnabas.errors import UsageError
from barnabas.replies import Step
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from barnabas.client import Client

RAW, RAW_BASE64, RAW_REF = "raw", "raw_base64", "raw_ref"
LARGE = 256 * 1024
"""Bytes from which a file is uploaded by itself: below, it fits into a payload however it is written there."""


async def read_payload(text: str, kind: str, client: Client) -> dict[str, Any]:
    """Return the payload that was typed for a kind.

    Raises:
        UsageError: the file can't be read, or it is no JSON object and the kind takes nothing else.
        ClientError: the edge could not be asked what the kind takes, or it refused the upload.
    """
    if _is_large_and_no_json(text) and RAW_REF in await _fields(kind, client):
        return {RAW_REF: (await client.upload(Path(text[1:]))).ref}
    try:
        return parsed(data := _bytes(text))
    except NoJsonError:
        if not text.startswith("@") or text.endswith(".json"):
            raise
        if (payload := wrapped(data, await _fields(kind, client))) is None:
            raise
        return payload


async def read_step(text: str, client: Client) -> Step:
    """Return the step that was typed as `KIND[@TIER]=PAYLOAD`.

    Raises:
        UsageError: it can't be read.
        ClientError: the edge could not be asked what the kind takes.
    """
    head, equals, payload = text.partition("=")
    kind, at, tier = head.strip().partition("@")
    if not kind or not equals:
        raise UsageError(f"{text!r}: a step is KIND[@TIER]=PAYLOAD", field="then")
    if at and tier not in set(Tier):
        raise UsageError(f"{tier!r} is no tier; there are {', '.join(Tier)}", field="then")
    return Step(kind=kind, tier=Tier(tier) if at else None, payload=await read_payload(payload, kind, client))


def parsed(data: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        NoJsonError: it is no JSON.
        UsageError: it is JSON, but no object.
    """
    try:
        payload = json.loads(data)
    except ValueError as error:
        raise NoJsonError(
            f'not JSON: {error}; write it as \'{{"expression": "@daily"}}\', @file or -', field="payload"
        ) from None
    if not isinstance(payload, dict):
        raise UsageError("a payload is a JSON object", field="payload")
    return payload


def wrapped(data: bytes, fields: Iterable[str]) -> dict[str, Any] | None:
    """Return a file's bytes as a payload with these fields; None if none of them takes it."""
    try:
        payload = {RAW: data.decode()}
    except UnicodeDecodeError:
        payload = {RAW_BASE64: base64.b64encode(data).decode()}
    return payload if payload.keys() <= set(fields) else None


class NoJsonError(UsageError):
    """What was typed is no JSON."""


async def _fields(kind: str, client: Client) -> frozenset[str]:
    """Return the fields that the payload of a kind may have."""
    schemas = [one.payload_schema for one in await client.kinds() if one.kind == kind]
    return frozenset(schemas[0].get("properties", ())) if schemas else frozenset()


def _is_large_and_no_json(text: str) -> bool:
    """Whether a large file was named that doesn't begin as a JSON object does."""
    if not text.startswith("@") or text.endswith(".json"):
        return False
    try:
        with Path(text[1:]).open("rb") as file:
            head = file.read(LARGE)
    except OSError:
        return False  # it is told as it is read
    return len(head) == LARGE and not head.lstrip().startswith(b"{")


def _bytes(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"{text[1:]} can't be read: {error}", field="payload") from None
