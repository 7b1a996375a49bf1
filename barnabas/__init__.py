"""The front door: a person at a terminal, or a program, comes in here.

    from barnabas import Client, SyncClient

    with SyncClient() as barnabas:
        barnabas.submit("cron.parse", {"expression": "0 8 * * mon-fri"})

Names are imported when they are first used, so that `barnabas --help` and the local stack start at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from barnabas.answer import Answer
    from barnabas.client import Client
    from barnabas.errors import (
        ClientError,
        ConnectionLostError,
        CredentialsError,
        EdgeError,
        NoStackError,
        TaskCancelledError,
        TaskError,
        TaskExpiredError,
        TaskFailedError,
        WaitTimeoutError,
    )
    from barnabas.replies import (
        DeadLetter,
        Event,
        Fire,
        Kind,
        Readiness,
        Receipt,
        Result,
        Schedule,
        State,
        Step,
        Tokens,
    )
    from barnabas.sync import SyncClient

__all__ = [
    "Answer",
    "Client",
    "ClientError",
    "ConnectionLostError",
    "CredentialsError",
    "DeadLetter",
    "EdgeError",
    "Event",
    "Fire",
    "Kind",
    "NoStackError",
    "Readiness",
    "Receipt",
    "Result",
    "Schedule",
    "State",
    "Step",
    "SyncClient",
    "TaskCancelledError",
    "TaskError",
    "TaskExpiredError",
    "TaskFailedError",
    "Tokens",
    "WaitTimeoutError",
]

_ELSEWHERE = {
    "Answer": "answer",
    "Client": "client",
    "SyncClient": "sync",
    **dict.fromkeys(
        (
            "DeadLetter",
            "Event",
            "Fire",
            "Kind",
            "Readiness",
            "Receipt",
            "Result",
            "Schedule",
            "State",
            "Step",
            "Tokens",
        ),
        "replies",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'errors')}"), name)
