"""The root of every error that a client may see.

    BarnabasError                      (a stable code, a message, the field, whether another try may help)
    ├── codec.CodecError               schemas: bytes that are no record
    ├── backbone.errors.*              settings, stores, permissions, outgoing addresses
    ├── streams.errors.*               payloads and handlers
    ├── inference_worker.errors.*      models and requests
    ├── connectors.errors.*            what the edge refuses
    └── barnabas.errors.*              the CLI, the client and the local stack

Codes never change once released; messages may. The first line of a class's docstring is its default message.
"""

from __future__ import annotations

import msgspec

LONGEST_TEXT = 1000
"""Characters of a message: it travels in records, beside a payload and what earlier attempts failed with."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, as a record carries it and a client sees it.

    Attributes:
        code: stable and dotted, such as `payload.invalid`.
        message: one sentence for a person, with the way out.
        field: path of the offending field, such as `payload.expression`.
        retryable: whether the same request may succeed later.
    """

    code: str
    message: str
    field: str | None = None
    retryable: bool = False


class BarnabasError(Exception):
    """Something went wrong."""

    code: str = "internal"
    retryable: bool = False

    retry_after: float | None = None
    """Seconds before which another try is of no use, where that is known."""

    def __init__(
        self, message: str | None = None, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.field = field
        self.retry_after = retry_after
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    def problem(self) -> Problem:
        """Return this error as a record carries it."""
        return Problem(
            self.code, brief(self.message), None if self.field is None else brief(self.field), self.retryable
        )


def brief(said: object) -> str:
    """Return what someone said of an error as text that any record can carry: UTF-8, and not long.

    What it is made of may be anything, for third parties raise it.
    """
    try:
        text = str(said).encode(errors="replace").decode()
    except Exception:  # noqa: BLE001 - its class is someone else's
        text = type(said).__name__
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
