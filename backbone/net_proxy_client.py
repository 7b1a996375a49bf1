"""The proxy's side of one connection with the program that uses it: HTTP/1.1 as h11 reads it, or the bytes of a tunnel.

A connection is told to close after one request. What passes, in both directions, is counted against a pass first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import h11

if TYPE_CHECKING:
    import httpcore
    import httpx

    from backbone.net_proxy import Pass

_HEAD_BYTES = 64 * 1024
_HEAD_SECONDS = 30.0
_READ = 64 * 1024
_PER_CONNECTION = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"upgrade",
    }
)


class ProxyClient:
    """The program that uses the proxy, as one connection of it shows it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, _HEAD_BYTES)
        self.connection: asyncio.Task[None]
        """What serves it."""

    async def request(self) -> h11.Request:
        """Return the head of what is asked for."""
        async with asyncio.timeout(_HEAD_SECONDS):
            event = await self._event()
        if isinstance(event, h11.Request):
            return event
        raise EOFError

    async def refuse(self, status: int, why: str, *headers: tuple[str, str]) -> None:
        """Answer in place of whoever was asked for; nothing, where an answer has begun."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        body = why.encode()
        lines = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *headers]
        await self._send(h11.Response(status_code=status, headers=[*lines, ("Connection", "close")]))
        await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def tunnel(self, origin: httpcore.AsyncNetworkStream, granted: Pass) -> None:
        """Carry bytes both ways until either side ends."""
        await self._send(h11.Response(status_code=200, headers=[]))
        early, _ = self._http.trailing_data
        ways = [
            asyncio.ensure_future(self._upwards(origin, granted, early)),
            asyncio.ensure_future(self._downwards(origin, granted)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def exchange(
        self, origin: httpcore.AsyncNetworkStream, request: h11.Request, url: httpx.URL, granted: Pass
    ) -> None:
        """Send one request on and its answer back.

        Both are told to close: on a connection that stayed, the next request could be for another host.
        """
        http = h11.Connection(h11.CLIENT, _HEAD_BYTES)
        head = h11.Request(method=request.method, target=url.raw_path, headers=_passed_on(request))
        await origin.write(http.send(head) or b"")
        while not isinstance(event := await self._event(), h11.EndOfMessage | h11.ConnectionClosed):
            if isinstance(event, h11.Data):
                granted.take(len(event.data))
                await origin.write(http.send(event) or b"")
        await origin.write(http.send(h11.EndOfMessage()) or b"")
        while True:
            answer = http.next_event()
            if answer is h11.NEED_DATA:
                data = await origin.read(_READ)
                granted.take(len(data))
                http.receive_data(data)
            elif isinstance(answer, h11.Response):
                headers = _passed_on(answer)
                await self._send(h11.Response(status_code=answer.status_code, headers=headers, reason=answer.reason))
            elif isinstance(answer, h11.Data | h11.EndOfMessage):
                await self._send(answer)
                if isinstance(answer, h11.EndOfMessage):
                    return
            elif isinstance(answer, h11.ConnectionClosed):
                return

    async def _upwards(self, origin: httpcore.AsyncNetworkStream, granted: Pass, early: bytes) -> None:
        data = early or await self._reader.read(_READ)
        while data:
            granted.take(len(data))
            await origin.write(data)
            data = await self._reader.read(_READ)

    async def _downwards(self, origin: httpcore.AsyncNetworkStream, granted: Pass) -> None:
        while data := await origin.read(_READ):
            granted.take(len(data))
            self._writer.write(data)
            await self._writer.drain()

    async def _event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_READ))
        return event

    async def _send(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()


def _passed_on(head: h11.Request | h11.Response) -> list[tuple[bytes, bytes]]:
    """Return the headers that are for the other side (RFC 9110, section 7.6.1), which closes after this."""
    named = b",".join(value for name, value in head.headers if name == b"connection").lower()
    dropped = _PER_CONNECTION | {name.strip() for name in named.split(b",")}
    return [*((name, value) for name, value in head.headers if name not in dropped), (b"Connection", b"close")]
