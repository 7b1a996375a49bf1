"""Uploads and downloads: a caller's blobs, as streams, whatever protocol they come by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backbone.errors import BlobMissingError
from connectors.errors import PayloadTooLargeError
from connectors.gateway import owners_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from backbone.blobs import BlobRef, Blobs, OpenBlob
    from backbone.security.identity import Principal


class Uploads:
    """The blobs of callers."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def take(self, principal: Principal, pieces: AsyncIterable[bytes], length: int | None) -> BlobRef:
        """Keep a stream of bytes as the caller's.

        Args:
            principal: who uploads.
            pieces: the bytes.
            length: how many there will be, if that was said: too many are refused before the first one is read.

        Raises:
            PayloadTooLargeError: it says that it will be larger than may be.
            BlobTooLargeError: it is.
            BlobStoreError: the store did not take it.
        """
        if length is not None and length > self._blobs.most:
            raise PayloadTooLargeError(f"{length} bytes; it may have {self._blobs.most}", field="Content-Length")
        return await self._blobs.put(principal.owner, pieces)

    async def give(self, principal: Principal, ref: str) -> OpenBlob:
        """Return a blob of the caller's.

        Raises:
            BlobMissingError: there is none.
            BlobChangedError: it is not what was put; of a large one that may be known only as its pieces come.
            BlobStoreError: the store did not answer.
        """
        missing = BlobMissingError()
        for owner in owners_of(principal):
            try:
                return await self._blobs.open(owner, ref)
            except BlobMissingError as error:
                missing = error
        raise missing
