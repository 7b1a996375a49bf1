"""Hearing of cancellations."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from structlog.testing import capture_logs

from backbone.cancellations import listen
from schemas.records import Cancel
from schemas.topics import CANCELLATIONS
from tests.barnabas.tools import Cable
from tests.support import produce, until


async def test_a_broker_that_is_away_at_first_is_waited_for(settings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    heard: list[str] = []
    with capture_logs() as said:
        away = settings.model_copy(update={"kafka_bootstrap": f"127.0.0.1:{port}"})
        listening = asyncio.create_task(listen(away, heard.append))

        async def failed() -> bool:
            return any(line["event"] == "cancellations.unheard" for line in said)

        await until(failed, 60)
    cable = Cable(int(settings.kafka_bootstrap.rpartition(":")[2]))

    async def told() -> bool:
        await produce(settings, CANCELLATIONS, "k", Cancel(task_id="t", by="ada", at=1))
        return "t" in heard

    try:
        async with cable.plugged(port):
            await until(told, 60)
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
