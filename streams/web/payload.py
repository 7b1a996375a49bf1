"""What `web.scrape` takes: an address, and how the page is to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streams.web.work import Mode, Wanted

if TYPE_CHECKING:
    from typing import Self

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

MOST_PICKS = 500
DEEPEST = 4
"""Levels of selectors in selectors."""
_LONGEST = 2000
_SelectorText = Annotated[str, Field(min_length=1, max_length=_LONGEST)]
_Picks = Annotated[dict[str, "Pick"], Field(min_length=1, max_length=100)]


class Pick(BaseModel):
    """One selector: exactly one of `css` and `xpath`. A text alone is a CSS selector.

    Attributes:
        all: every match as a list, not the first alone.
        attr: the attribute to take in place of the text.
        url: whether what it finds is an address, which is made whole by that of the page.
        each: selectors by name, evaluated from every match (an XPath begins with `.`); the result is a list of objects.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    css: _SelectorText | None = None
    xpath: _SelectorText | None = None
    all: bool = False
    attr: str | None = Field(None, min_length=1, max_length=200)
    url: bool = False
    each: _Picks | None = None

    @model_validator(mode="before")
    @classmethod
    def _text_is_css(cls, pick: Any) -> Any:
        return {"css": pick} if isinstance(pick, str) else pick

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say that a text does as well."""
        return {"anyOf": [{"type": "string", "minLength": 1, "maxLength": _LONGEST}, handler(core_schema)]}

    @model_validator(mode="after")
    def _one_language(self) -> Self:
        if (self.css is None) == (self.xpath is None):
            raise ValueError("give exactly one of css and xpath")
        if self.each is not None and (self.attr is not None or self.url):
            raise ValueError("give each alone, or attr and url: the selectors in each take what they want")
        return self

    @property
    def wanted(self) -> Wanted:
        """The selector as a worker takes it."""
        each = None if self.each is None else wanted(self.each)
        return Wanted(self.css, self.xpath, self.all, self.attr, self.url, each)


class ScrapePayload(BaseModel):
    """What to read, and how.

    Attributes:
        url: an http or https address of the public web.
        selectors: name -> a CSS selector, or a `Pick`.
        mode: `selectors` where there are any, else `article`.
        rendered: whether the page's scripts are run first, in a browser.
        wait_for: with `rendered`, a CSS selector that the page is waited for to match.
        timeout: seconds for the whole fetch; the task's own deadline is kept as well.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"url": "https://example.com/", "selectors": {"title": "h1"}},
                {"url": "https://example.com/", "mode": "links"},
                {
                    "url": "https://example.com/",
                    "selectors": {
                        "offers": {
                            "css": ".offer",
                            "each": {"name": "h2", "page": {"css": "a", "attr": "href", "url": True}},
                        }
                    },
                },
            ]
        },
    )

    url: Annotated[str, Field(min_length=1, max_length=8000)]
    selectors: _Picks | None = None
    mode: Mode | None = None
    rendered: bool = False
    wait_for: _SelectorText | None = None
    timeout: Annotated[float, Field(gt=0, le=30)] = 20.0

    @model_validator(mode="after")
    def _mode_has_what_it_needs(self) -> Self:
        if self.mode is Mode.SELECTORS and self.selectors is None:
            raise ValueError("mode `selectors` needs selectors")
        if self.wait_for is not None and not self.rendered:
            raise ValueError("only a page that is rendered can be waited for: say `rendered` as well")
        count, depth = _size(self.selectors or {})
        if count > MOST_PICKS or depth > DEEPEST:
            raise ValueError(f"at most {MOST_PICKS} selectors in all, in at most {DEEPEST} levels of `each`")
        return self

    @property
    def how(self) -> Mode:
        """The mode, chosen where none was named."""
        return self.mode or (Mode.SELECTORS if self.selectors else Mode.ARTICLE)

    @property
    def wanted(self) -> dict[str, Wanted]:
        """The selectors to evaluate; empty where the mode has none."""
        return wanted(self.selectors or {}) if self.how is Mode.SELECTORS else {}


def wanted(picks: dict[str, Pick]) -> dict[str, Wanted]:
    """Return selectors as a worker takes them."""
    return {name: pick.wanted for name, pick in picks.items()}


def _size(picks: dict[str, Pick]) -> tuple[int, int]:
    """Return how many selectors there are in all, and in how many levels."""
    inner = [_size(pick.each) for pick in picks.values() if pick.each]
    return len(picks) + sum(count for count, _ in inner), 1 + max((depth for _, depth in inner), default=0)
