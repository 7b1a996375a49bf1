"""A mail's HTML as a reader sees it: blocks as lines, cells apart, hidden text left out but counted, links looked at.

One pass by tokens, without a tree: mail HTML is broken in every way, nested thousands deep by table layouts, or made to
hurt, and the tree builders at hand lose what lies deeper than 256 elements, or take time that grows with the square of
a tag's attributes.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from streams.mail.bounds import MAX_HEADER, MAX_LINKS

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,100}+)")
_GAP = re.compile(r"[\s/=]*+")
# A quote that nobody closes goes on to the end, as in a browser: so no byte is looked at twice.
_ATTRIBUTE = re.compile(r"([^\s/>=]++)(?:\s*+=\s*+(\"[^\"]*+\"?|'[^']*+'?|[^\s>]*+))?+")
_HUGE_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{9,}+;?")
_SPACES = re.compile(r"\s+")

_TELLING = frozenset({"href", "style", "hidden", "alt", "type"})
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    ]
)
_APART = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "blockquote", "ul", "ol", "pre"})
_CELLS = frozenset({"td", "th"})
_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
_RAW = frozenset({"script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "template"})
_CLOSES_ITSELF = frozenset({"p", "li", "tr", "td", "th", "dt", "dd", "option"})
_ENDS_CELL = {"tr": frozenset({"td", "th"})}
_HIDING = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|mso-hide\s*:\s*all|"
    r"(?:opacity|max-height|max-width)\s*:\s*0(?:\.0+)?(?:px|pt|em|rem|%)?\s*(?:[;!]|$)",
    re.IGNORECASE,
)
_FLAT = re.compile(r"(?:^|[;\s])(?:height|width)\s*:\s*0(?:px|pt|em|rem|%)?\s*(?:[;!]|$)", re.IGNORECASE)
_CLIPPED = re.compile(r"overflow\s*:\s*hidden", re.IGNORECASE)
_FONT_SIZE = re.compile(r"font-size\s*:\s*([\d.]*)", re.IGNORECASE)
_HOST = re.compile(r"(?:https?://|www\.)([a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,10})", re.IGNORECASE)


@dataclass(slots=True)
class Seen:
    """What HTML says and shows."""

    text: str = ""
    links: int = 0
    targets: list[str] = field(default_factory=list)
    disguised: int = 0
    images: int = 0
    hidden: int = 0
    forms: int = 0


def read(source: str) -> Seen:
    """Return what a reader of `source` sees."""
    page = _Page(source)
    page.read()
    seen = page.seen
    seen.text = _tidy("".join(page.said))
    return seen


class _Page:
    """A walk through HTML.

    `_open` holds the open elements: name, whether it hides what it holds, and whether letters had no size before it.
    Layouts set that size to zero and then give it back further in, so it is inherited, not hidden for good.
    """

    def __init__(self, source: str) -> None:
        self.seen = Seen()
        self.said: list[str] = []
        self._source = source
        self._open: list[tuple[str, bool, bool]] = []
        self._count: dict[str, int] = {}
        self._hiding = 0
        self._sizeless = False
        self._fresh = True
        """Nothing was said since a line was begun."""
        self._target: str | None = None
        self._label: list[str] = []

    def read(self) -> None:
        source, at = self._source, 0
        while at < len(source):
            mark = source.find("<", at)
            mark = len(source) if mark < 0 else mark
            self._say(source[at:mark])
            at = self._markup(mark) if mark < len(source) else mark

    def _markup(self, at: int) -> int:
        """Follow what begins with the `<` at `at`; return where it ends."""
        source = self._source
        if tag := _TAG.match(source, at):
            return self._tag(tag[2].lower(), bool(tag[1]), tag.end())
        if source.startswith("<!--", at):
            # `<!-->` and `<!--->` are whole comments (HTML, section 13.2.5.43).
            return _after(source, "-->", at + 2)
        if source.startswith(("<!", "<?", "</"), at):
            return _after(source, ">", at)
        self._say("<")
        return at + 1

    def _tag(self, name: str, ends: bool, at: int) -> int:
        style, at = self._attributes(at)
        if ends:
            self._end(name)
        else:
            self._start(name, style)
            if name in _RAW:
                return self._skip(name, at)
        return at

    def _attributes(self, at: int) -> tuple[dict[str, str], int]:
        """Return the attributes of a tag that matter, and where it ends."""
        source, found = self._source, dict[str, str]()
        while (at := _GAP.match(source, at).end()) < len(source) and source[at] != ">":  # type: ignore[union-attr]
            attribute = _ATTRIBUTE.match(source, at)
            if attribute is None:
                break
            name, value = attribute[1].lower(), attribute[2] or ""
            if name in _TELLING:
                found.setdefault(name, _unescaped(value.strip("\"'")[:MAX_HEADER]))
            at = attribute.end()
        return found, min(at + 1, len(source))

    def _skip(self, name: str, at: int) -> int:
        """Return where the end tag of an element begins whose content is no markup."""
        end = re.compile(f"</{name}", re.IGNORECASE).search(self._source, at)
        return end.start() if end else len(self._source)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._break(name)
        if self._open and name in _CLOSES_ITSELF and self._open[-1][0] == name:
            self._pop()
        while self._open and self._open[-1][0] in _ENDS_CELL.get(name, ()):
            self._pop()
        style = attributes.get("style", "")
        hides = "hidden" in attributes or bool(_HIDING.search(style))
        hides = hides or bool(_FLAT.search(style) and _CLIPPED.search(style))
        if name == "a" and attributes.get("href"):
            self._link(attributes["href"])
        elif name == "img":
            self.seen.images += 1
            if not hides:
                self._say(f" {attributes.get('alt', '')} ", escaped=False)
        elif name in {"form", "input", "select", "button"}:
            self.seen.forms += attributes.get("type") != "hidden"
        elif name == "li":
            self._say("- ")
        if name not in _VOID:
            self._open.append((name, hides, self._sizeless))
            self._count[name] = self._count.get(name, 0) + 1
            self._hiding += hides
            if size := _FONT_SIZE.search(style):
                self._sizeless = bool(size[1]) and not size[1].strip("0.")

    def _end(self, name: str) -> None:
        if name == "a":
            self._close_link()
        self._break(name)
        # An end tag closes all that was opened since its start tag; one without a start tag closes nothing.
        while self._count.get(name) and self._pop() != name:
            pass

    def _pop(self) -> str:
        name, hides, self._sizeless = self._open.pop()
        self._count[name] -= 1
        self._hiding -= hides
        return name

    def _break(self, name: str) -> None:
        if self._hiding:
            return
        if name == "br":
            self.said.append("\n")
        elif name in _CELLS:
            self.said.append("\t")
        elif name in _APART:
            self.said.append("\n\n")
        elif name in _BLOCKS and not self._fresh:
            self.said.append("\n")
        self._fresh = self._fresh or name in _BLOCKS or name == "br"

    def _say(self, text: str, *, escaped: bool = True) -> None:
        if not text:
            return
        text = _unescaped(text) if escaped else text
        if self._hiding or self._sizeless:
            self.seen.hidden += len("".join(text.split()))
            return
        # Line breaks of the source are spaces, as are its tabs; those of blocks and cells are put in by themselves.
        self._fresh = self._fresh and text.isspace()
        self.said.append(text if self._count.get("pre") else _SPACES.sub(" ", text))
        if self._target is not None and len(self._label) < 100:
            self._label.append(text[:MAX_HEADER])

    def _link(self, target: str) -> None:
        self._close_link()
        self.seen.links += 1
        target = "".join(target.split())
        if len(self.seen.targets) < MAX_LINKS and not target.startswith("#"):
            self.seen.targets.append("".join(filter(str.isprintable, target))[:MAX_HEADER])
        self._target = target
        self._label = []

    def _close_link(self) -> None:
        """Count a link whose text names another host than the one that it leads to."""
        shown = _HOST.search("".join(self._label)) if self._target else None
        if shown and self._target and not _same_site(shown[1], _host_of(self._target)):
            self.seen.disguised += 1
        self._target = None
        self._label = []


def _after(source: str, mark: str, at: int) -> int:
    end = source.find(mark, at)
    return len(source) if end < 0 else end + len(mark)


def _unescaped(text: str) -> str:
    return html.unescape(_HUGE_REFERENCE.sub("\N{REPLACEMENT CHARACTER}", text)) if "&" in text else text


def _host_of(target: str) -> str:
    try:
        return urlsplit(target).hostname or ""
    except ValueError:
        return ""


def _same_site(shown: str, host: str) -> bool:
    """Whether two hosts share their last two labels, or the target is no host at all (`mailto:`)."""
    return not host or shown.lower().rsplit(".", 2)[-2:] == host.rsplit(".", 2)[-2:]


def _tidy(text: str) -> str:
    """Return a text without more white space than parts its words, cells, lines and blocks."""
    lines = []
    for line in text.split("\n"):
        cells = [" ".join(cell.split()) for cell in line.split("\t")]
        lines.append(" | ".join(filter(None, cells)) if len(cells) > 1 else cells[0])
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
