"""What `web.scrape` gives: of the page itself always the same, and one part for each mode."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from streams.web.work import Mode

Value = TypeAliasType("Value", "str | list[str] | list[dict[str, Value]] | None")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Link(_Part):
    """An address of the web that the page leads to.

    Attributes:
        text: what a reader sees of it first.
        rel: what the page says of it, such as `nofollow`.
    """

    url: str
    text: str = ""
    rel: list[str] = []


class Table(_Part):
    """A table, whose cells that span others are repeated in each.

    Attributes:
        header: a text a column; empty where the table has none.
        rows: all equally long.
    """

    caption: str | None = None
    header: list[str] = []
    rows: list[list[str]] = []


class Icon(_Part):
    """A picture that stands for the page."""

    url: str
    type: str | None = None
    sizes: str | None = None


class FeedLink(_Part):
    """A feed that the page names."""

    url: str
    type: str
    title: str | None = None


class Item(_Part):
    """An item of microdata.

    Attributes:
        properties: name -> values, which are texts or items.
    """

    type: list[str] = []
    id: str | None = None
    properties: dict[str, list[str | Item]] = {}


class Metadata(_Part):
    """What the page says of itself for machines.

    Attributes:
        description: its own, else that of Open Graph.
        canonical: the address that it calls its own.
        open_graph: each `property`, with its namespace; a list where one comes several times.
        twitter: the same of Twitter cards.
        meta: the same of each other `<meta name>`, in lower case.
        json_ld: the objects of all blocks that can be read, as they stand.
        microdata: items that are no other item's property.
    """

    description: str | None = None
    canonical: str | None = None
    icons: list[Icon] = []
    feeds: list[FeedLink] = []
    open_graph: dict[str, str | list[str]] = {}
    twitter: dict[str, str | list[str]] = {}
    meta: dict[str, str | list[str]] = {}
    json_ld: list[dict[str, Any]] = []
    microdata: list[Item] = []


class Attachment(_Part):
    """A file that a feed's item names, such as a podcast's."""

    url: str
    mime_type: str | None = None


class FeedItem(_Part):
    """An item of a feed, in the terms of JSON Feed 1.1; times are ISO 8601 in UTC.

    Attributes:
        content_html: as sanitized HTML.
        content_text: the same as text.
        summary: a shorter form, where the feed has one beside.
    """

    id: str | None = None
    url: str | None = None
    title: str | None = None
    date_published: str | None = None
    date_modified: str | None = None
    authors: list[str] = []
    tags: list[str] = []
    summary: str | None = None
    content_text: str | None = None
    content_html: str | None = None
    attachments: list[Attachment] = []


class Feed(_Part):
    """A feed, in the terms of JSON Feed 1.1.

    Attributes:
        format: what it is written in, such as `rss20`, `atom10` or `json`.
    """

    format: str
    title: str | None = None
    home_page_url: str | None = None
    description: str | None = None
    language: str | None = None
    items: list[FeedItem] = []


class ScrapeResult(BaseModel):
    """What the page said. Parts that the mode doesn't fill are null.

    Attributes:
        final_url: where the redirects led.
        status: HTTP status, below 500 (others are tried again).
        content_type: its media type.
        charset: how its bytes were read.
        fetched_at: when the run began.
        from_cache: whether the page was here already.
        mode: how it was read.
        title: of the page, the article or the feed.
        language: what the page says of itself, else what its server says.
        text: of an article; in mode `raw`, the page's source.
        author: of an article.
        date: of an article, as `YYYY-MM-DD`.
        body_ref: in mode `raw`, a blob of the page's bytes where they are no text.
        data: what the selectors found, by their names.
        notes: what was broken in the page, or left out of it for its size.
    """

    url: str
    final_url: str
    status: int
    content_type: str
    charset: str
    fetched_at: datetime
    from_cache: bool = False
    mode: Mode
    title: str | None = None
    language: str | None = None
    text: str | None = None
    author: str | None = None
    date: str | None = None
    body_ref: str | None = None
    data: dict[str, Value] | None = None
    metadata: Metadata | None = None
    links: list[Link] | None = None
    tables: list[Table] | None = None
    feed: Feed | None = None
    notes: list[str] = Field(default_factory=list)
