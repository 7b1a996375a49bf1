"""The pages that are read: made here, the same each time, of the sizes that pages of their sort have."""

from __future__ import annotations

import json
from random import Random

URL = "https://shop.example/lamps/"
_TEXT = (
    "the keeper lamp harbour tide and evening wrote down a weather light of stone brass ladder winter ship rope salt in"
    " coast morning fog bell was under signal north window"
)
_WORDS = _TEXT.split()


def listing(offers: int = 60) -> str:
    """Return a shop's page: `offers` of name, price, address and picture, with a table and what stands around."""
    random = Random(1)
    shown = "".join(
        f'<li class="offer" data-id="{n}"><h2><a href="item/{n}">{_said(random, 4)}</a></h2><p class="price">'
        f'<span>{random.randint(5, 500)}.00</span> EUR</p><img src="/i/{n}.jpg" alt=""><p>{_said(random, 25)}</p></li>'
        for n in range(offers)
    )
    return _page("Lamps", f'<h1>Lamps</h1><ul id="offers">{shown}</ul>')


def story(paragraphs: int = 30) -> str:
    """Return an article of so many paragraphs with a navigation, a side column and comments around it."""
    random = Random(2)
    told = "".join(f"<p>{_said(random, 60).capitalize()}.</p>" for _ in range(paragraphs))
    aside = "".join(f'<li><a href="/s/{n}">{_said(random, 6)}</a></li>' for n in range(30))
    return _page(
        "The keeper's notes", f"<article><h1>The keeper's notes</h1>{told}</article><aside><ul>{aside}</ul></aside>"
    )


def table(rows: int = 300, columns: int = 8) -> str:
    """Return a page with one table."""
    random = Random(3)
    cells = "".join(
        f"<tr>{''.join(f'<td>{random.randint(0, 9999)}</td>' for _ in range(columns))}</tr>" for _ in range(rows)
    )
    head = "".join(f"<th>{_said(random, 2)}</th>" for _ in range(columns))
    return _page("Tides", f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>")


def described(items: int = 30) -> str:
    """Return a page that says much of itself: JSON-LD, Open Graph, microdata."""
    random = Random(4)
    things = [{"@type": "Product", "name": _said(random, 3), "offers": {"price": n}} for n in range(items)]
    head = "".join(
        f'<meta property="og:{name}" content="{_said(random, 5)}">' for name in ("title", "type", "image", "url")
    )
    ld = f'<script type="application/ld+json">{json.dumps({"@graph": things})}</script>'
    shown = "".join(
        f'<div itemscope itemtype="https://schema.org/Product"><b itemprop="name">{_said(random, 3)}</b>'
        f'<p itemprop="offers" itemscope><span itemprop="price">{n}</span></p></div>'
        for n in range(items)
    )
    return _page("Lamps", shown, head + ld)


def feed(items: int = 50) -> str:
    """Return an RSS feed."""
    random = Random(5)
    told = "".join(
        f"<item><title>{_said(random, 6)}</title><link>{URL}{n}</link><guid>{n}</guid>"
        f"<pubDate>Wed, 04 Nov 2026 07:{n % 60:02}:00 GMT</pubDate>"
        f"<description>&lt;p&gt;{_said(random, 60)}&lt;/p&gt;</description></item>"
        for n in range(items)
    )
    return (
        f'<?xml version="1.0"?><rss version="2.0"><channel><title>Log</title><link>{URL}</link>{told}</channel></rss>'
    )


def _page(title: str, body: str, head: str = "") -> str:
    random = Random(6)
    navigation = "".join(f'<li><a class="nav" href="/n/{n}">{_said(random, 2)}</a></li>' for n in range(40))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>{head}</head>'
        f"<body><nav><ul>{navigation}</ul></nav><main>{body}</main><footer>Imprint</footer></body></html>"
    )


def _said(random: Random, words: int) -> str:
    return " ".join(random.choice(_WORDS) for _ in range(words))
