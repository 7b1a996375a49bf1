"""How much of a mail is read, and what was found wrong on the way.

Every loop of the parser ends at one of these numbers or at the end of the bytes, and none starts over from an earlier
byte more often than `MAX_DEPTH` times: the time of any mail grows no faster than its length.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_BYTES = 25 * 1024 * 1024
MAX_PARTS = 1000
MAX_DEPTH = 20
"""Of multiparts and mails within one another; also how often a part is unwrapped (base64, S/MIME) and split anew."""
MAX_MARKS = 100_000
"""Lines that begin with `--`, as what parts a mail does."""
MAX_FIELDS = 1000
"""Header fields of one entity that are read one by one."""
MAX_HEADER_LINES = 4000
MAX_HEADERS = 200
"""Header fields that the result holds."""
MAX_HEADER = 2000
"""Characters of a header that are kept."""
MAX_ADDRESS_HEADER = 20_000
"""Characters of a header of addresses that are read."""
MAX_ADDRESSES = 100
MAX_ATTACHMENTS = 200
MAX_NAME = 200
"""Characters of a file's name."""
MAX_TEXT = 20_000
"""Characters of text that are kept: far more than a model reads, far less than a mail can hold."""
MAX_SOURCE = 500_000
"""Characters of one part's text or HTML that are read."""
MAX_SOURCES = 2_000_000
"""The same for all parts together."""
MAX_UNWRAPPED = 2 * MAX_BYTES
"""Bytes of what lies within transfer encodings, S/MIME and winmail.dat, for all parts together."""
MAX_LINKS = 100
"""Links whose targets the result holds."""
MAX_FORWARDED = 20
MAX_FORWARDED_TEXT = 5000
MAX_GUESSES = 4
"""Texts whose charset is guessed from all that their bytes show; each costs tens of milliseconds."""
MAX_FINDINGS = 100


@dataclass(slots=True)
class Findings:
    """What was mended, what looks made to deceive, and what the mail may still cost; each note stands once."""

    mended: dict[str, None] = field(default_factory=dict)
    suspicious: dict[str, None] = field(default_factory=dict)
    parts: int = MAX_PARTS
    marks: int = MAX_MARKS
    sources: int = MAX_SOURCES
    unwrapped: int = MAX_UNWRAPPED
    guesses: int = MAX_GUESSES

    def mend(self, what: str) -> None:
        """Note what had to be mended."""
        if len(self.mended) < MAX_FINDINGS:
            self.mended[what] = None

    def suspect(self, what: str) -> None:
        """Note what an honest mail seldom does."""
        if len(self.suspicious) < MAX_FINDINGS:
            self.suspicious[what] = None
