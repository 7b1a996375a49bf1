"""Pure: whether a record can be shown: its times are in a calendar, its documents are JSON that is not endless.

The codec lets any integer be a time and any bytes a document. Whoever reads a record at the edge holds it against this
first, so that one strange record is passed over and never met again where other people's answers are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from schemas.codec import CodecError
from schemas.nesting import is_deep
from schemas.records import LAST_MS, DeadLetter, Fire, Task, TaskEvent, Timer

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMES: Mapping[type[msgspec.Struct], tuple[str, ...]] = {
    Task: ("created_at", "start_by", "deadline", "chain_deadline"),
    TaskEvent: ("at",),
    Timer: ("at", "created_at", "since"),
    Fire: ("slot", "to_slot", "at"),
    DeadLetter: ("at",),
}


def check(record: msgspec.Struct) -> None:
    """Refuse a record that can't be shown.

    Raises:
        CodecError: names the field.
    """
    for name in _TIMES.get(type(record), ()):
        time = getattr(record, name)
        if time is not None and not is_time(time):
            raise CodecError("no calendar has this time", field=name)
    if isinstance(record, TaskEvent) and record.result is not None:
        _check_document(record.result, "result")
    if isinstance(record, DeadLetter) and record.task is not None:
        if not record.task.id or record.task.tier is None:
            raise CodecError("is not stamped", field="task")
        check(record.task)
    if isinstance(record, Timer) and record.template.task is not None:
        _check_document(record.template.task.payload, "template.task.payload")


def is_time(ms: int) -> bool:
    """Whether milliseconds since the epoch are a time that records hold and a calendar shows: up to the year 9999."""
    return 0 <= ms <= LAST_MS


def read_document(document: bytes) -> Any:
    """Return a JSON document.

    Raises:
        ValueError: it is none, or nests too deeply.
    """
    try:
        value = msgspec.json.decode(document)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if is_deep(document, value):
        raise ValueError("is nested too deeply")
    return value


def _check_document(document: bytes, field: str) -> None:
    try:
        read_document(document)
    except ValueError as error:  # msgspec's own among them
        raise CodecError(f"not a JSON document: {error}", field=field) from None
