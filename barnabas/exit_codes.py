"""The exit codes of every command; they are part of the contract with scripts and never change."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from barnabas.errors import NoStackError, NotRunningError, TaskExpiredError, UsageError, WaitTimeoutError

if TYPE_CHECKING:
    from schemas.errors import BarnabasError


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    """The task or the command failed; the message says why."""
    USAGE = 2
    """What was typed makes no sense."""
    NO_STACK = 3
    """No stack can be reached."""
    TIMEOUT = 4
    """The task expired, or did not end in the time given."""
    INTERRUPTED = 130
    """Ctrl-C."""


def code_of(error: BarnabasError) -> ExitCode:
    """Return the exit code that an error stands for."""
    match error:
        case NoStackError() | NotRunningError():
            return ExitCode.NO_STACK
        case TaskExpiredError() | WaitTimeoutError():
            return ExitCode.TIMEOUT
        case UsageError():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED
