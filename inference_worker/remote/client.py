"""The connection to a model's server: its list of models, and answers as they are streamed.

The address is the operator's setting and nobody else's, so it does not pass the guard of `backbone.net`: to open it there
would open it to every task that fetches an address. No redirect is followed and no proxy of the environment used, for
the key would go along; authorities are those that the system trusts.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
import msgspec

from backbone.errors import SettingsError
from inference_worker.errors import RemoteError, RemoteRefusedError
from inference_worker.remote import events

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from backbone.settings import Settings
    from inference_worker.remote.events import Chunk

CONNECT_SECONDS: Final = 5.0
LARGEST_REFUSAL: Final = 64 * 1024
LARGEST_LIST: Final = 4 * 1024 * 1024
LONGEST_RETRY_AFTER: Final = 86_400.0


class Client:
    """Asks one server."""

    def __init__(self, url: str, key: str, *, silence: float, connections: int, now: Callable[[], int]) -> None:
        """Make a client; nothing is asked yet.

        Args:
            url: base URL of the API.
            key: of the API, or nothing.
            silence: seconds that the server may say nothing.
            connections: the most at once.
            now: ms since the epoch.
        """
        self._now = now
        self._http = httpx.AsyncClient(
            base_url=f"{url}/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(silence, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            verify=ssl.create_default_context(),
            trust_env=False,
        )

    @classmethod
    def of(cls, settings: Settings, now: Callable[[], int]) -> Self:
        """Make the client that the settings name.

        Raises:
            SettingsError: the file of the key can't be read.
        """
        key = settings.remote_api_key.get_secret_value()
        if not key and settings.remote_api_key_file is not None:
            try:
                key = settings.remote_api_key_file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"can't be read: {error}", field="BARNABAS_REMOTE_API_KEY_FILE") from None
        key = key.strip()
        if not (key.isascii() and key.isprintable()):
            raise SettingsError("is no key: it holds what no header may", field="BARNABAS_REMOTE_API_KEY")
        silence = settings.remote_silence.total_seconds()
        return cls(settings.remote_url, key, silence=silence, connections=settings.inference_slots + 1, now=now)

    async def models(self) -> list[dict[str, Any]] | None:
        """Return what the server says of its models, None if it keeps no list.

        Raises:
            RemoteError: it failed, or does not take the key.
            RemoteRefusedError: it is no such server.
        """
        async with self._answer("GET", "models") as response:
            if response.status_code in {404, 405}:
                return None
            await self._check(response)
            body = await _bounded(response, LARGEST_LIST)
        try:
            listed = msgspec.json.decode(body, type=dict[str, Any])["data"]
            return [entry for entry in listed if isinstance(entry["id"], str)]
        except (msgspec.DecodeError, KeyError, TypeError):
            raise RemoteRefusedError(
                "the server's list of models is none of the OpenAI API: see BARNABAS_REMOTE_URL"
            ) from None

    @asynccontextmanager
    async def ask(self, path: str, body: dict[str, Any]) -> AsyncIterator[AsyncGenerator[Chunk, None]]:
        """Ask for an answer; within the context its chunks are read. Leaving it early ends the answer at the server.

        Args:
            path: below the base URL.
            body: what is asked.

        Raises:
            InferenceError: the server refuses, fails, or breaks off.
        """
        async with self._answer("POST", path, body) as response:
            await self._check(response)
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise RemoteRefusedError(f"the model's server does not stream: it answered with {kind[:100]!r}")
            yield _chunks(response)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> AsyncIterator[httpx.Response]:
        try:
            async with self._http.stream(method, path, json=body) as response:
                yield response
        except httpx.TimeoutException as error:
            raise RemoteError(f"the model's server does not answer ({type(error).__name__})") from None
        except httpx.HTTPError as error:
            raise RemoteError(
                f"the connection to the model's server failed ({str(error) or type(error).__name__})"
            ) from None

    async def _check(self, response: httpx.Response) -> None:
        if response.status_code == 200:
            return
        if response.is_redirect:
            raise RemoteRefusedError("the model's server redirects: set BARNABAS_REMOTE_URL to where it leads")
        body = await _bounded(response, LARGEST_REFUSAL)
        after = retry_after(response.headers.get("retry-after", ""), self._now())
        raise events.refusal(response.status_code, body, after)


async def _bounded(response: httpx.Response, most: int) -> bytes:
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > most:
            raise RemoteError(f"the model's server sent more than {most} bytes where none are due")
    return body


async def _chunks(response: httpx.Response) -> AsyncGenerator[Chunk, None]:
    lines = events.Lines()
    async for received in response.aiter_bytes():
        for data in lines.feed(received):
            if data == events.DONE:
                return
            yield events.chunk(data)


def retry_after(header: str, now: int) -> float | None:
    """Return the seconds that a `Retry-After` names (RFC 9110, section 10.2.3), None if it names none.

    Args:
        header: its value.
        now: ms since the epoch.
    """
    if header.isascii() and header.isdecimal():
        return min(float(header), LONGEST_RETRY_AFTER)
    try:
        seconds = parsedate_to_datetime(header).timestamp() - now / 1000
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
