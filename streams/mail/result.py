"""What `mail.classify` tells of a mail: what it says of itself, what it was called and why, and where it was sent."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from streams.mail.policy import Labels

if TYPE_CHECKING:
    from streams.mail.classifier import Verdict
    from streams.mail.heads import Held
    from streams.mail.message import Mail

MAX_TEXT = 4000
"""Characters of a mail's text that its result tells: about a thousand tokens, which a model can sum up."""


class Spam(BaseModel):
    """Whether it is spam.

    Attributes:
        probability: that it is; calibrated (docs/mail.md).
        is_spam: whether that is enough to call it so.
    """

    probability: float
    is_spam: bool


class Urgency(BaseModel):
    """How urgent it is.

    Attributes:
        label: `low`, `normal` or `high`.
        shares: each one's share; they sum to 1.
    """

    label: str
    shares: dict[str, float]


class Reason(BaseModel):
    """What moved a label.

    Attributes:
        phrase: words of the mail, or in words what was seen in its form.
        weight: how far it moved the label, in units of log-odds.
    """

    phrase: str
    weight: float


class Reasons(BaseModel):
    """Why it was called so, the strongest reasons first."""

    spam: list[Reason]
    urgency: list[Reason]
    category: list[Reason]


class File(BaseModel):
    """An attached file: its name without a path, its declared media type, its size in bytes."""

    name: str
    type: str
    size: int


class Within(BaseModel):
    """A mail that was forwarded within the mail."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    subject: str
    from_: str = Field(alias="from")
    date: datetime | None


class MailResult(BaseModel):
    """A mail, and what was made of it.

    Attributes:
        from_: the sender as the mail has it, under the name `from`; anybody can write it.
        to: the addresses in `To`.
        date: when the mail says it was sent.
        text: the beginning of its readable text.
        labels: each category's share, the likeliest first; they sum to 1.
        top: the likeliest category.
        spam: whether it is spam.
        urgency: how urgent it is.
        reason: the phrases that moved a label most.
        attachments: the files that came with it.
        forwarded: the mails within it, the outermost first.
        mended: what was wrong with the mail's form.
        suspicious: what looks made to deceive.
        head_version: which version of what its owner taught was used; 0 where nothing was taught.
        head_error: why that version could not be read: the labels are those of somebody who taught nothing.
        route: the name of the policy's rule that fits it.
    """

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    subject: str
    from_: str = Field(alias="from")
    to: list[str]
    date: datetime | None
    text: str
    labels: dict[str, float]
    top: str
    spam: Spam
    urgency: Urgency
    reason: Reasons
    attachments: list[File] = []
    forwarded: list[Within] = []
    mended: list[str] = []
    suspicious: list[str] = []
    head_version: int = 0
    head_error: str | None = None
    route: str | None = None

    @property
    def called(self) -> Labels:
        """What the policy's rules look at."""
        return Labels(self.top, self.urgency.label, self.spam.probability, self.spam.is_spam)


SPARSEST = (
    MailResult(
        subject="",
        from_="",
        to=[],
        date=None,
        text="",
        labels={},
        top="",
        spam=Spam(probability=0, is_spam=False),
        urgency=Urgency(label="", shares=dict.fromkeys(("low", "normal", "high"), 0.0)),
        reason=Reasons(spam=[], urgency=[], category=[]),
    )
    .model_dump_json()
    .encode()
)
"""A result that holds just what every one does: a look-up that finds nothing here may find nothing in a mail's."""


def classified(mail: Mail, verdict: Verdict, held: Held) -> MailResult:
    """Return what is told of a mail, but for its route."""
    return MailResult(
        subject=mail.subject,
        from_=mail.sender,
        to=[address.address for address in mail.to],
        date=mail.date,
        text=mail.text[:MAX_TEXT],
        labels=verdict.categories,
        top=verdict.category,
        spam=Spam(probability=verdict.spam, is_spam=verdict.is_spam),
        urgency=Urgency(label=verdict.urgency, shares=verdict.urgencies),
        reason=Reasons.model_validate(verdict.reasons, from_attributes=True),
        attachments=[File(name=file.name, type=file.type, size=file.size) for file in mail.attachments],
        forwarded=[Within(subject=one.subject, from_=one.sender, date=one.date) for one in mail.forwarded],
        mended=list(mail.mended),
        suspicious=list(mail.suspicious),
        head_version=held.version,
        head_error=held.error,
    )
