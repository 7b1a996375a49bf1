"""The main text of a page, without what stands around it, and who wrote it when.

By trafilatura. Where a page's markup is too broken for it to tell the main text from the rest, the text is all that the
page shows, and a note says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lxml.etree

from streams.web.document import spaced

if TYPE_CHECKING:
    from streams.web.document import Document

_SHOWN = "//body//text()[not(ancestor::script or ancestor::style or ancestor::template)]"

# What the extractors raise on markup that no browser would write (an element after the document's end, for one).
_EXTRACTION_FAILS = (
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    lxml.etree.LxmlError,
)


def article(document: Document, source: str, url: str) -> dict[str, Any]:
    """Return title, author, date, language and main text, as far as the page has them.

    Args:
        document: the page.
        source: its text, which trafilatura mends in ways of its own.
        url: where it was found in the end.
    """
    # A quarter of a second, and not every page is read as an article.
    from trafilatura import bare_extraction  # noqa: PLC0415
    from trafilatura.settings import Document as Extracted  # noqa: PLC0415

    try:
        extracted = bare_extraction(source, url=url, include_comments=False, with_metadata=True)
    except _EXTRACTION_FAILS as error:
        document.notes.append(
            f"its main text can't be told from the rest ({type(error).__name__}): text is all it shows"
        )
        return {"text": spaced(" ".join(document.root.xpath(_SHOWN, smart_strings=False))) or None}
    if not isinstance(extracted, Extracted):
        return {}
    named = ("title", "author", "date", "text", "language")
    return {name: getattr(extracted, name) for name in named if getattr(extracted, name)}
