"""A worker that is killed by its own hand: `python -m tests.inference_worker.mortal_worker POINT`.

It is the real one, but for its producer, which ends the process (SIGKILL) at the first record that is

claimed   a claim, once that is durable: before the first token
ended     the end of an answer, once that is durable: before there is an outcome
settled   the event of an outcome, before it is sent: only the store knows it
told      the same, once it is durable: before the offset is committed
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from backbone import service
from backbone.kafka import Producer
from inference_worker import worker
from schemas.records import DeltaType, TaskEvent, TokenDelta

if TYPE_CHECKING:
    import msgspec

    from schemas.topics import Topic

POINTS = ("claimed", "ended", "settled", "told")


def point_of(record: msgspec.Struct | None) -> tuple[str, ...]:
    """Return the points of which a record is the one."""
    match record:
        case TokenDelta(type=DeltaType.CLAIM):
            return ("claimed",)
        case TokenDelta(type=DeltaType.END):
            return ("ended",)
        case TaskEvent(status=status) if status.terminal:
            return ("settled", "told")
    return ()


class MortalProducer(Producer):
    """Ends the process at its point."""

    async def send(self, topic: Topic, key: str, record: msgspec.Struct | None) -> tuple[int, int]:
        mine = sys.argv[1] in point_of(record)
        if not (mine and sys.argv[1] == "settled"):
            place = await super().send(topic, key, record)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return place


if __name__ == "__main__":
    worker.Producer = MortalProducer  # type: ignore[misc]  # the class that the worker makes its producer of
    sys.exit(service.run("inference_worker", worker.Worker))
