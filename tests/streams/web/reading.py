"""Reading pages as the tier has it done, without fetching them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from streams.web.result import ScrapeResult
from streams.web.work import Mode, Source, Wanted, read

URL = "https://lighthouse.example/log/today?page=2"
NOW = datetime(2026, 11, 4, tzinfo=UTC)


def css(text: str, **how: Any) -> Wanted:
    return Wanted(text, None, **how)


def xpath(text: str, **how: Any) -> Wanted:
    return Wanted(None, text, **how)


def scraped(
    text: str,
    mode: Mode,
    picks: dict[str, Wanted] | None = None,
    *,
    content_type: str = "text/html",
    language: str | None = None,
    url: str = URL,
) -> ScrapeResult:
    """Return the result that a page gives, which survives its record."""
    found = read(Source(text, content_type, language, url), mode, picks or {})
    result = ScrapeResult(
        url=url,
        final_url=url,
        status=200,
        content_type=content_type,
        charset="utf-8",
        fetched_at=NOW,
        mode=mode,
        **found,
    )
    assert ScrapeResult.model_validate_json(result.model_dump_json(by_alias=True)) == result
    return result
