"""HTML mails: what a reader sees, what is hidden, and what the links say of themselves."""

from __future__ import annotations

import pytest

from streams.mail import markup
from streams.mail.bounds import MAX_LINKS
from streams.mail.parse import parse


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>one</p><p>two<br>three</p>", "one\n\ntwo\nthree"),
        ("one\n  two\t<b>th</b>ree", "one two three"),
        ("<pre>one\n  two</pre>", "one\ntwo"),
        ("<ul><li>one<li>two</ul>three", "- one\n- two\n\nthree"),
        ("<table><tr><th>Item<th>Price<tr><td>Tea<td>4&nbsp;&euro;</table>", "Item | Price\nTea | 4 €"),
        ("<head><title>no</title><style>p{}</style></head><script>if (a<b) no()</script>yes", "yes"),
        ("a<!-- no --><!--[if mso]>no<![endif]-->b<!-->c", "abc"),
        ("<![if !mso]>shown<![endif]>", "shown"),
        ("1 < 2 & 3 > 2 &amp; &#x263A; &#99999999999;", "1 < 2 & 3 > 2 & ☺ \N{REPLACEMENT CHARACTER}"),
        ("<p title='a > b'>after", "after"),
        ('<a href="https://example.com>never closed', ""),
        ("</b></p>stray", "stray"),
        ("<div>" * 3000 + "deep" + "</div>" * 3000 + "after", "deep\nafter"),
        ("<noscript>for mail programs</noscript>", "for mail programs"),
        ("<img alt='Spring sale'><img>", "Spring sale"),
        ("<scr\0ipt>x", "x"),
    ],
)
def test_text_is_as_a_reader_sees_it(source, text):
    assert parse(b"Subject: x\nContent-Type: text/html; charset=utf-8\n\n" + source.encode()).text == text


@pytest.mark.parametrize(
    ("source", "seen", "hidden"),
    [
        ("<p style='display:none'>gone</p>here", "here", 4),
        ("<p style='DISPLAY : none !important'>gone<b>too</b></p>here", "here", 7),
        ("<p hidden>gone</p>here", "here", 4),
        ("<i style='font-size:0px'>gone</i>here", "here", 4),
        ("<i style='font-size:0'>gone<b style='font-size:14px'>here</b></i>", "here", 4),
        ("<i style='font-size:0.8em;opacity:0.5;line-height:0'>here</i>", "here", 0),
        ("<i style='opacity: 1;max-height:100px'>here</i>", "here", 0),
        ("<div style='max-height:0;overflow:hidden'>gone</div>here", "here", 4),
        ("<div style='height:0;overflow:hidden'>gone</div>here", "here", 4),
        ("<div style='visibility:hidden'>gone</div>here", "here", 4),
        ("<p style='display:none'>gone<p>here", "here", 4),
        ("<td style='mso-hide:all'>gone<tr><td>here", "here", 4),
        ("<br style='display:none'>here", "here", 0),
    ],
)
def test_hidden_text_is_left_out_and_counted(source, seen, hidden):
    read = markup.read(source)
    assert (read.text, read.hidden) == (seen, hidden)


@pytest.mark.parametrize(
    ("source", "links", "disguised"),
    [
        ("<a href=https://example.com/x>here</a>", 1, 0),
        ("<a href=https://evil.example>https://bank.test/login</a>", 1, 1),
        ("<a href=https://evil.example>www.bank.test</a>", 1, 1),
        ("<a href=https://click.bank.test>https://www.bank.test</a>", 1, 0),
        ("<a href=mailto:a@example.com>www.example.com</a>", 1, 0),
        ("<a name=top>https://bank.test</a>", 0, 0),
        ("<a href=https://[bad>https://bank.test</a>", 1, 0),
    ],
)
def test_links_are_counted_and_the_disguised_told(source, links, disguised):
    read = markup.read(source)
    assert (read.links, read.disguised) == (links, disguised)
    mail = parse(b"Subject: x\nContent-Type: text/html\n\n" + source.encode())
    assert ("html: a link shows another host than it leads to" in mail.suspicious) == bool(disguised)


def test_targets_are_bounded_and_printable():
    html = parse(b"Subject: x\nContent-Type: text/html\n\n" + b"<a href='https://example.com/\n\x01a'>x</a>" * 500).html
    assert html.links == 500
    assert html.targets == ("https://example.com/a",) * MAX_LINKS


def test_forms_and_images_are_counted():
    read = markup.read("<form><input type=hidden><input name=password><img src=a><IMG src=b></form>")
    assert (read.forms, read.images) == (2, 2)
