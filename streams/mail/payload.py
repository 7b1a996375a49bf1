"""How a task names the mail that it is about: as text, as bytes, or by the ref of an upload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator

from backbone.errors import BlobChangedError, BlobMissingError, BlobTooLargeError
from streams.mail.bounds import MAX_BYTES
from streams.mail.parse import parse

if TYPE_CHECKING:
    from streams.handlers.port import Context
    from streams.mail.message import Mail

EXAMPLE = "From: Lea <lea@example.com>\r\nSubject: Dinner?\r\n\r\nAre you free on Friday?\r\n"

Labels = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=100)], Annotated[str, Field(min_length=1, max_length=500)]],
    Field(min_length=2, max_length=50),
]
"""A user's own categories: name -> a sentence that tells what such mail says."""


class MailSource(BaseModel):
    """A mail: exactly one of these.

    Attributes:
        raw: the mail as text (RFC 5322).
        raw_base64: the mail's bytes, where they are no UTF-8.
        raw_ref: the ref of an upload that is the mail's bytes.
    """

    model_config = ConfigDict(extra="forbid")

    raw: Annotated[str, Field(min_length=1, max_length=MAX_BYTES)] | None = None
    raw_base64: Annotated[Base64Bytes, Field(min_length=1, max_length=MAX_BYTES)] | None = None
    raw_ref: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_mail(self) -> Self:
        one_mail(self)
        return self


def one_mail(source: MailSource) -> None:
    """Hold a payload to naming one mail.

    Raises:
        ValueError: it names none, or several.
    """
    if sum(given is not None for given in (source.raw, source.raw_base64, source.raw_ref)) != 1:
        raise ValueError("give exactly one of raw, raw_base64 and raw_ref")


async def mail_of(source: MailSource, context: Context) -> Mail:
    """Return the mail that a payload names, parsed where that can be stopped.

    Raises:
        PayloadError: this is no mail, or it is too large; the field is the one that named it.
        BlobMissingError, BlobChangedError, BlobTooLargeError: the upload can't be had.
        BlobStoreError: the store of the upload did not answer; try again.
    """
    if source.raw is not None:
        return await context.compute(parse, source.raw.encode("utf-8", "replace"), "raw")
    if source.raw_base64 is not None:
        return await context.compute(parse, source.raw_base64, "raw_base64")
    try:
        raw = await context.blobs.get(source.raw_ref or "")
    except (BlobMissingError, BlobChangedError, BlobTooLargeError) as error:
        error.field = "payload.raw_ref"
        raise
    return await context.compute(parse, raw, "raw_ref")
