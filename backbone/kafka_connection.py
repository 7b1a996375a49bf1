"""Two changes to aiokafka, by subclassing: each is small, named, and has a test that tells when it is not needed any more.

`Connection`: a transport that is closed already is a broken connection. Where a broker dies, asyncio's own transports
take what is written to them afterwards and say nothing; uvloop's raise `RuntimeError`. aiokafka foresees only `OSError`,
so that the error ends the task that looks after a client's metadata, unheard. Whoever needs a coordinator after that
waits for ever: a tier would leave its group and never come back.

`Client`: who connects to a broker that is coming up, and knows of none yet, not even of itself, asks again. aiokafka
takes that for an answer, and a group's consumer that finds no broker to ask for its coordinator ends, and says so once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import client, conn
from aiokafka.consumer import consumer
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.producer import producer

AGAIN_SECONDS = 0.2
"""Pause before a broker that knows of none is asked again."""


class Connection(conn.AIOKafkaConnection):
    """aiokafka's connection to one broker."""

    def send(self: Any, request: Any, expect_response: bool = True) -> Any:
        """Begin to send a request; return what its answer is awaited by.

        Raises:
            KafkaConnectionError: the connection is broken.
        """
        try:
            return super().send(request, expect_response)  # type: ignore[no-untyped-call]  # of aiokafka's connection
        except KafkaError:  # a RuntimeError too, and foreseen
            raise
        except RuntimeError as error:
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"the connection to {self.host}:{self.port} is broken: {error}") from error


class Client(client.AIOKafkaClient):
    """aiokafka's connections to a cluster."""

    async def bootstrap(self: Any) -> None:
        """Connect, and get to know the brokers.

        Raises:
            KafkaConnectionError: none answers.
        """
        await super().bootstrap()  # type: ignore[no-untyped-call]  # of aiokafka's client
        while not self.cluster.brokers():
            await asyncio.sleep(AGAIN_SECONDS)
            for unknowing in self._conns.values():
                unknowing.close()
            self._conns.clear()
            await super().bootstrap()  # type: ignore[no-untyped-call]  # as above


def install() -> None:
    """Let all that aiokafka does in this process be done by these."""
    vars(conn)["AIOKafkaConnection"] = Connection
    for made_in in (consumer, producer):
        vars(made_in)["AIOKafkaClient"] = Client
