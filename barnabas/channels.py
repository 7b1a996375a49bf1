"""Which connection serves whom: as few as can be, since one carries any number of different tasks.

The edge tells a connection of a task from its beginning once. So whoever asks for a task that somebody else follows
already gets another connection, and so does whoever can't know whether it is such a one.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from barnabas.channel import Channel, Subscription, many

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from barnabas.endpoint import Endpoint


class Channels:
    """The WebSocket connections of a client."""

    def __init__(self, endpoint: Endpoint, *, patience: float) -> None:
        """Make none yet; the arguments are those of `Channel`."""
        self._endpoint = endpoint
        self._patience = patience
        self._made: list[Channel] = []

    def __len__(self) -> int:
        return len(self._made)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(channel.close() for channel in self._made))
        self._made.clear()

    @asynccontextmanager
    async def subscribed(self, frame: dict[str, Any], task: str = "") -> AsyncIterator[Subscription]:
        """Open a subscription for the block; arguments and errors are those of `Channel.subscribe`."""
        # A repeated key is a task that may be followed already.
        channel = self._fitting(task, alone=many(task) or "idempotency_key" in frame)
        sub = await channel.subscribe(frame, task=task)
        try:
            yield sub
        finally:
            await channel.leave(sub)

    def _fitting(self, task: str, *, alone: bool) -> Channel:
        for channel in self._made:
            if channel.idle or not (alone or channel.has(task) or channel.has_many):
                return channel
        self._made.append(Channel(self._endpoint, patience=self._patience))
        return self._made[-1]
