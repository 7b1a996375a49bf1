"""What a person would see of a mail, and what a classifier wants to know beside it: plain, bounded, printable values.

No string in here holds a control character but the line feeds of texts, and no file name a path separator: what a mail
smuggles in an encoded word ends at the parser (`streams.mail.parse`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - a dataclass that others serialize needs its types


@dataclass(frozen=True, slots=True)
class Address:
    """Who: `Lea Roth <lea@example.com>` (RFC 5322, section 3.4).

    Attributes:
        name: the display name, decoded; often empty.
        address: `local@domain` as written, or what stood in its place.
    """

    name: str
    address: str

    @property
    def domain(self) -> str:
        """What follows the last `@`, in lower case."""
        return self.address.rpartition("@")[2].lower()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a mail; it is not read.

    Attributes:
        name: its file name without any path, or its type where it has none.
        type: its media type as declared, in lower case.
        size: its decoded length in bytes; for base64 by count, not by decoding.
    """

    name: str
    type: str
    size: int


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A mail within the mail, attached whole or quoted inline; its text is part of the outer text too."""

    subject: str
    sender: str
    date: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class Html:
    """What the HTML of a mail shows of its making, counted also where a plain alternative was read in its place.

    Attributes:
        only: there was HTML and no plain text that says anything.
        links: number of links.
        targets: the first addresses that they lead to.
        disguised: links whose text shows another host than the one that they lead to.
        images: number of images.
        hidden: characters of text that a reader does not see.
        forms: number of forms and input fields.
    """

    only: bool = False
    links: int = 0
    targets: tuple[str, ...] = ()
    disguised: int = 0
    images: int = 0
    hidden: int = 0
    forms: int = 0


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail.

    Attributes:
        subject: the `Subject` header as text.
        sender: the `From` header as text.
        date: when it says it was sent (aware, in its own zone; UTC where it names none).
        text: its readable text, at most `bounds.MAX_TEXT` characters.
        attachments: the files that came with it.
        mended: what was wrong with its form, in words.
        suspicious: what looks made to deceive, in words.
        senders: the addresses in `From`, in each where it stands twice; more than one is rare and suspicious.
        to: the addresses in `To`.
        cc: the addresses in `Cc`.
        headers: the first headers (name in lower case, decoded value), in their order.
        list_id: the mailing list that it came by (RFC 2919), or nothing.
        has_unsubscribe: it tells how to leave its list (RFC 2369, RFC 8058).
        auto_submitted: `auto-generated`, `auto-replied` or the like (RFC 3834); nothing where a person sent it.
        html: what its HTML shows; all zeros without HTML.
        forwarded: the mails within it, the outermost first.
        signed: `pgp` or `smime` where it is signed; no signature is checked.
        encrypted: `pgp` or `smime` where it holds what only its reader can open.
    """

    subject: str
    sender: str
    date: datetime | None
    text: str
    attachments: tuple[Attachment, ...] = ()
    mended: tuple[str, ...] = ()
    suspicious: tuple[str, ...] = ()
    senders: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    list_id: str = ""
    has_unsubscribe: bool = False
    auto_submitted: str = ""
    html: Html = field(default_factory=Html)
    forwarded: tuple[Forwarded, ...] = ()
    signed: str = ""
    encrypted: str = ""
