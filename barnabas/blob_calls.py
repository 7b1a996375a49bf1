"""The client's part about blobs: bytes that are too large for a payload go up as a stream, and come back whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from barnabas.calls import Calls
from barnabas.errors import ClientError, NoStackError, UsageError
from barnabas.replies import Blob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import BinaryIO

CHUNK = 256 * 1024


class BlobCalls(Calls):
    """Uploads and downloads."""

    async def upload(self, source: Path | bytes | AsyncIterable[bytes]) -> Blob:
        """Upload a file or bytes; the blob's `ref` names them in payloads of one's own, for as long as the edge says.

        Args:
            source: a file's path, bytes, or a stream of them; no more of a file or a stream is held than a piece.

        Raises:
            UsageError: the file can't be read.
            EdgeError: it is too large (`payload.too_large`, `blob.too_large`), or can't be stored now.
            NoStackError: nothing answers.
        """
        if isinstance(source, bytes | AsyncIterable):
            return await self._upload(source, None)
        try:
            with await asyncio.to_thread(source.open, "rb") as file:
                found = os.fstat(file.fileno())
                size = found.st_size if stat.S_ISREG(found.st_mode) else None
                return await self._upload(pieces(file, size), size)
        except OSError as error:
            raise UsageError(f"{source} can't be read: {error}", field="file") from None

    async def download(self, ref: str) -> bytes:
        """Return the bytes of a blob of one's own, such as a result that was too large for its event.

        Raises:
            EdgeError: there is none (`blob.missing`).
            ClientError: what came is not what was put, or not all of it.
            NoStackError: nothing answers.
        """
        try:
            data = (await self._request("GET", f"/v1/blobs/{quote(ref, safe=':')}")).content
        except NoStackError as error:
            if not isinstance(error.__cause__, httpx.RemoteProtocolError):
                raise
            # An edge that finds a blob changed while it sends it can only break off.
            raise ClientError(f"{ref} did not come whole") from error
        if ref != f"blob:sha256:{hashlib.sha256(data).hexdigest()}":
            raise ClientError(f"what came for {ref} is not what was put there")
        return data

    async def _upload(self, content: bytes | AsyncIterable[bytes], size: int | None) -> Blob:
        headers = {"Content-Type": "application/octet-stream"}
        if size is not None:
            headers["Content-Length"] = str(size)  # so that the edge may refuse it before it is sent
        return self._read(await self._request("POST", "/v1/blobs", content=content, headers=headers), Blob)


async def pieces(file: BinaryIO, size: int | None = None) -> AsyncIterator[bytes]:
    """Yield what a file holds; the event loop goes on while it is read.

    Args:
        file: opened for reading.
        size: bytes that it must have, where that was said already.

    Raises:
        UsageError: it became shorter or longer since.
    """
    read = 0
    while piece := await asyncio.to_thread(file.read, CHUNK):
        read += len(piece)
        if size is not None and read > size:
            break
        yield piece
    if size is not None and read != size:
        raise UsageError("the file was changed while it was read", field="file")
