"""What is too large for a record: bytes under the SHA-256 that they have, apart for each owner.

A record names them by a ref, `blob:sha256:<hex>`, which says nothing of where they lie nor whose they are: an owner's
ref is missing for every other owner. A blob is seen whole or not at all, is held against its hash as it is read, and
putting the same bytes again makes it young again, so that what is named anew does not vanish.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import obstore
import structlog

from backbone.errors import BlobChangedError, BlobMissingError, BlobStoreError, BlobTooLargeError
from backbone.ids import new_id
from backbone.object_store import folder_name, open_store, reaching

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from obstore import GetResult
    from obstore.store import ObjectStore

    from backbone.settings import Settings

BLOBS: Final = "blobs"
"""The folder of what is whole: `blobs/<owner's hash>/<hex>`."""
INCOMING: Final = "incoming"
"""The folder of what is on its way: nobody reads there, and what a crash leaves is swept."""
CHUNK: Final = 256 * 1024
PART: Final = 5 * 1024 * 1024
"""What is held of a stream before it goes on to the store: S3 takes no smaller parts."""
INLINE: Final = 1024 * 1024
"""Bytes that are hashed at once in the event loop; more go to a thread."""

_REF = re.compile(r"blob:sha256:([0-9a-f]{64})")
_log = structlog.get_logger()


class BlobRef(NamedTuple):
    """What was put.

    Attributes:
        ref: by which its owner gets it.
        size: in bytes.
        sha256: of the bytes, in hexadecimal.
    """

    ref: str
    size: int
    sha256: str


class OpenBlob(NamedTuple):
    """A blob on its way out: its size in bytes, and its pieces."""

    size: int
    pieces: AsyncIterator[bytes]


class Blobs:
    """The blobs of all owners."""

    def __init__(self, store: ObjectStore, *, most: int) -> None:
        """Make them.

        Args:
            store: where they lie.
            most: bytes that a blob may have.
        """
        self._store = store
        self.most = most

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the blobs of the settings' store.

        Raises:
            BlobStoreError: its folder can't be made.
        """
        return cls(open_store(settings), most=settings.max_upload_bytes)

    def of_owner(self, owner: str) -> OwnedBlobs:
        """Return the blobs of one owner."""
        return OwnedBlobs(self, owner)

    async def put(self, owner: str, data: bytes | AsyncIterable[bytes], *, most: int | None = None) -> BlobRef:
        """Keep bytes, and return how to get them again.

        Args:
            owner: whose they are.
            data: the bytes, or a stream of them; of a stream no more than some MiB are held at once.
            most: bytes that it may have; by default what any blob may.

        Raises:
            BlobTooLargeError: it has more.
            BlobStoreError: the store did not take it; nothing of it can be seen.
        """
        most = self.most if most is None else most
        if not isinstance(data, bytes):
            return await self._receive(owner, data, most)
        _check(len(data), most)
        made = _ref(await _hash(data), len(data))
        with reaching():
            await obstore.put_async(self._store, _path(owner, made.sha256), data, use_multipart=False)
        return made

    async def get(self, owner: str, ref: str) -> bytes:
        """Return the bytes of a blob.

        Raises:
            BlobMissingError: this owner has none of that ref.
            BlobChangedError: its bytes are not those that were put.
            BlobStoreError: the store did not answer.
        """
        sha256 = _sha256(ref)
        found = await self._find(owner, sha256)
        with reaching():
            data = bytes(await found.bytes_async())
        if await _hash(data) != sha256:
            raise _changed(ref)
        return data

    async def open(self, owner: str, ref: str) -> OpenBlob:
        """Return a blob as a stream; its last piece comes only once all of it is known to be what was put.

        Raises:
            BlobMissingError, BlobStoreError: as `get`.
            BlobChangedError: as `get`; of what has more than two pieces it may come in place of a piece.
        """
        sha256 = _sha256(ref)
        found = await self._find(owner, sha256)
        pieces = _checked(found, sha256)
        # What is small, or was cut short, is known to be changed before anybody is told of its size.
        first = await anext(pieces, b"")
        return OpenBlob(found.meta["size"], _joined(first, pieces))

    async def _find(self, owner: str, sha256: str) -> GetResult:
        try:
            with reaching(FileNotFoundError):
                found = await obstore.get_async(self._store, _path(owner, sha256))
        except FileNotFoundError:
            raise _missing(_ref(sha256, 0).ref) from None
        if found.meta["size"] > self.most:
            raise BlobTooLargeError(f"it has {found.meta['size']} bytes; at most {self.most} are read")
        return found

    async def _receive(self, owner: str, chunks: AsyncIterable[bytes], most: int) -> BlobRef:
        """Write a stream under a name that nobody reads, and give it its own once all of it is there."""
        digest = hashlib.sha256()
        size = 0
        coming = f"{INCOMING}/{new_id()}"
        writer = obstore.open_writer_async(self._store, coming, buffer_size=PART, max_concurrency=1)
        with reaching():
            await writer.__aenter__()
        try:
            async for chunk in chunks:
                size += len(chunk)
                _check(size, most)
                digest.update(chunk)
                with reaching():
                    await writer.write(chunk)
        except BaseException as error:
            await self._abandon(writer, error)
            raise
        made = _ref(digest.hexdigest(), size)
        with reaching():
            await writer.close()
            await obstore.rename_async(self._store, coming, _path(owner, made.sha256))
        return made

    async def _abandon(self, writer: obstore.AsyncWritableFile, error: BaseException) -> None:
        """Give up what is on its way."""
        try:
            with reaching():
                # Left by an exception, it throws away what it has, where `close` would make a whole object of it.
                await writer.__aexit__(type(error), error, error.__traceback__)
        except BlobStoreError as failed:
            _log.warning("blob.left_over", error=str(failed))


@dataclass(frozen=True, slots=True)
class OwnedBlobs:
    """The blobs of one owner; errors are those of `Blobs`."""

    blobs: Blobs
    owner: str

    async def put(self, data: bytes | AsyncIterable[bytes], *, most: int | None = None) -> BlobRef:
        """Keep bytes; see `Blobs.put`."""
        return await self.blobs.put(self.owner, data, most=most)

    async def get(self, ref: str) -> bytes:
        """Return a blob's bytes; see `Blobs.get`."""
        return await self.blobs.get(self.owner, ref)


async def _checked(found: GetResult, sha256: str) -> AsyncIterator[bytes]:
    """Yield what the store gives, holding each piece back until the next one, and the last until the hash is known."""
    digest = hashlib.sha256()
    held = b""
    pieces = found.stream(min_chunk_size=CHUNK)
    while True:
        with reaching():
            piece = await anext(pieces, None)
        if piece is None:
            break
        if held:
            yield held
        held = bytes(piece)
        digest.update(held)
    if digest.hexdigest() != sha256:
        raise _changed(_ref(sha256, 0).ref)
    if held:
        yield held


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece


async def _hash(data: bytes) -> str:
    if len(data) <= INLINE:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


def _path(owner: str, sha256: str) -> str:
    return f"{BLOBS}/{folder_name(owner)}/{sha256}"


def _ref(sha256: str, size: int) -> BlobRef:
    return BlobRef(f"blob:sha256:{sha256}", size, sha256)


def _sha256(ref: str) -> str:
    if (match := _REF.fullmatch(ref)) is None:
        raise BlobMissingError("that is no ref; one is written `blob:sha256:` and 64 hexadecimal digits")
    return match[1]


def _missing(ref: str) -> BlobMissingError:
    return BlobMissingError(f"there is no {ref} of yours, or it is too long ago: upload it again")


def _changed(ref: str) -> BlobChangedError:
    return BlobChangedError(f"the bytes of {ref} are not those that were uploaded: upload it again")


def _check(size: int, most: int) -> None:
    if size > most:
        raise BlobTooLargeError(f"at most {most} bytes are taken")
