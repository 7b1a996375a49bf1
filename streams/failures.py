"""Pure: what a handler raised, as the records that follow from it tell: its problem, and when another try may help.

A handler may be a third party's, and so may its exceptions: whatever they are or say, this has an answer.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from schemas.errors import BarnabasError, Problem, brief
from streams.errors import HandlerDiedError, PayloadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.records import Attempt

LONGEST_REST = timedelta(days=1)
"""What a handler may put another try off by; a task's deadline is sooner as a rule."""


def rest_of(error: BaseException) -> int:
    """Return the ms before which another try is of no use, as far as the error says."""
    seconds = error.retry_after if isinstance(error, BarnabasError) else None
    if not isinstance(seconds, int | float) or not seconds > 0:  # whatever a third party's error says
        return 0
    return int(min(seconds, LONGEST_REST.total_seconds()) * 1000)


def problem_of(error: BaseException, history: Sequence[Attempt] = ()) -> Problem:
    """Return an exception as events carry it: one that nobody foresaw may pass, so it is tried again.

    Args:
        error: what the handler raised.
        history: how earlier attempts failed. A process may die by chance once; twice, it is the payload's doing.
    """
    try:
        problem = error.problem() if isinstance(error, BarnabasError) else None
    except Exception:  # noqa: BLE001 - a class of someone else's, which does not set up what ours does
        problem = None
    if problem is None:
        return Problem("task.crashed", f"{type(error).__name__}: {brief(error)}", retryable=True)
    if isinstance(error, HandlerDiedError) and any(attempt.code == problem.code for attempt in history):
        return msgspec.structs.replace(problem, retryable=False)
    if isinstance(error, PayloadError):
        # A handler knows its payload; a client sees the task around it.
        return msgspec.structs.replace(problem, field=f"payload.{problem.field}" if problem.field else "payload")
    return problem
