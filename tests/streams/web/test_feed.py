"""Feeds of each format in the same terms, broken ones, hostile ones, and what is none."""

from __future__ import annotations

import json

import pytest

from streams.errors import PageUnreadableError
from streams.web.feed import MOST_ITEMS
from streams.web.work import Mode
from tests.streams.web.reading import scraped

RSS = """<?xml version="1.0" encoding="iso-8859-1"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
  xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>Log &amp; tides</title><link>/</link><language>en</language>
  <description>What the keeper saw</description><item><title>Fog</title><link>/fog</link><guid>tag:lighthouse.example,2026:fog</guid>
  <pubDate>Wed, 04 Nov 2026 07:30:00 +0100</pubDate><dc:creator>Ada</dc:creator><category>sea</category>
  <description>Short</description><content:encoded><![CDATA[<p>All day.<br>All night.</p><script>alert(1)</script>]]></content:encoded>
  <enclosure url="https://lighthouse.example/fog.mp3" type="audio/mpeg" length="9"/></item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title>Log &amp; tides</title><link href="/"/>
  <subtitle>What the keeper saw</subtitle><entry><id>tag:lighthouse.example,2026:fog</id><title>Fog</title><link href="/fog"/>
  <published>2026-11-04T07:30:00+01:00</published><author><name>Ada</name></author><category term="sea"/>
  <summary>Short</summary><content type="html">&lt;p&gt;All day.&lt;br&gt;All night.&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;</content>
  <link rel="enclosure" href="https://lighthouse.example/fog.mp3" type="audio/mpeg"/></entry></feed>"""
JSON_FEED = json.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "Log & tides",
        "home_page_url": "/",
        "description": "What the keeper saw",
        "language": "en",
        "items": [
            {
                "id": "tag:lighthouse.example,2026:fog",
                "url": "/fog",
                "title": "Fog",
                "date_published": "2026-11-04T07:30:00+01:00",
                "authors": [{"name": "Ada"}],
                "tags": ["sea"],
                "summary": "Short",
                "content_html": "<p>All day.<br>All night.</p><script>alert(1)</script>",
                "attachments": [{"url": "https://lighthouse.example/fog.mp3", "mime_type": "audio/mpeg"}],
            }
        ],
    }
)
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
  <channel rdf:about="x"><title>Log</title></channel><item rdf:about="y"><title>Fog</title><link>/fog</link></item></rdf:RDF>"""
OLD = """<?xml version="1.0"?><!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" "http://x.example/rss.dtd">
  <rss version="0.91"><channel><title>Log</title><item><title>Fog</title><link>/fog</link></item></channel></rss>"""


def read(text, content_type="application/xml"):
    return scraped(text, Mode.FEED, content_type=content_type)


@pytest.mark.parametrize(("text", "form"), [(RSS, "rss20"), (ATOM, "atom10"), (JSON_FEED, "json")])
def test_each_format_is_told_in_the_same_terms(text, form):
    result = read(text)
    feed, (item,) = result.feed, result.feed.items
    assert (feed.format, result.title, result.language) == (form, "Log & tides", "en")
    assert (feed.home_page_url, feed.description) == ("https://lighthouse.example/", "What the keeper saw")
    assert (item.id, item.url, item.title) == (
        "tag:lighthouse.example,2026:fog",
        "https://lighthouse.example/fog",
        "Fog",
    )
    assert (item.date_published, item.date_modified) == ("2026-11-04T06:30:00+00:00", None)
    assert (item.authors, item.tags, item.summary) == (["Ada"], ["sea"], "Short")
    assert item.content_text == "All day.\nAll night."
    assert "script" not in item.content_html
    assert [each.model_dump() for each in item.attachments] == [
        {"url": "https://lighthouse.example/fog.mp3", "mime_type": "audio/mpeg"}
    ]
    assert result.notes == []


def test_names_with_a_prefix_are_read():
    page = '<a:feed xmlns:a="http://www.w3.org/2005/Atom"><a:title>Log</a:title><a:entry><a:title>Fog</a:title></a:entry></a:feed>'
    result = read(page)
    assert (result.feed.format, result.title, result.feed.items[0].title) == ("atom10", "Log", "Fog")


def test_a_large_page_that_is_no_feed_is_told_at_once():
    with pytest.raises(PageUnreadableError):
        read("<p>" * 1_000_000, "text/html")


@pytest.mark.parametrize(("text", "form"), [(RDF, "rss10"), (OLD, "rss091u")])
def test_older_formats_are_read(text, form):
    result = read(text)
    assert (result.feed.format, result.title, result.feed.items[0].url) == (
        form,
        "Log",
        "https://lighthouse.example/fog",
    )


def test_a_broken_feed_is_read_as_far_as_it_goes_and_says_so():
    result = read("<rss version=2.0><channel><title>A & B</title><item><title>One</title><item><title>Two</title>")
    assert [item.title for item in result.feed.items] == ["One", "Two"]
    assert "broken" in result.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        RSS.replace("<description>Short</description>", "").replace("https://lighthouse.example/fog.mp3", "/fog.mp3"),
        ATOM.replace("<summary>Short</summary>", "").replace("https://lighthouse.example/fog.mp3", "/fog.mp3"),
        JSON_FEED.replace(', "summary": "Short"', "").replace("https://lighthouse.example/fog.mp3", "/fog.mp3"),
    ],
)
def test_the_content_is_no_summary_and_a_file_may_be_named_from_the_feed_on(text):
    (item,) = read(text).feed.items
    assert (item.summary, item.content_text) == (None, "All day.\nAll night.")
    assert [each.url for each in item.attachments] == ["https://lighthouse.example/fog.mp3"]


def test_dates_that_are_none_are_left_out():
    items = "".join(f"<item><pubDate>{date}</pubDate></item>" for date in ("yesterday", "99 Zzz 2026", ""))
    assert [item.date_published for item in read(f"<rss version='2.0'><channel>{items}").feed.items] == [None] * 3
    said = {
        "version": "https://jsonfeed.org/version/1",
        "items": [{"id": "1", "date_published": "0001-01-01T00:00:00+14:00"}],
    }
    assert read(json.dumps(said)).feed.items[0].date_published is None


def test_space_before_the_declaration_and_halves_of_characters_do_not_break_it():
    (item,) = read(
        f"\ufeff\n {RSS.replace('Fog', 'Fog &#xD83D;&#56832;').replace('All day', '&#55357; day')}"
    ).feed.items
    assert (item.title, item.content_text) == ("Fog \ufffd\ufffd", "\ufffd day.\nAll night.")
    said = json.loads(JSON_FEED)
    said["items"] += [None, {"id": "\ud800", "content_html": "<p>&#xd800;", "authors": {"name": 1}, "attachments": [1]}]
    result = read(json.dumps(said))
    assert [item.id for item in result.feed.items] == ["tag:lighthouse.example,2026:fog", "?"]


@pytest.mark.parametrize("before", ["", "<!-- a -->", "<!-- <rss -->", "\n"])
@pytest.mark.slow
def test_entities_of_its_own_do_not_grow_and_name_no_files(before, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    grown = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    doctype = f'<!DOCTYPE x [<!ENTITY s SYSTEM "{secret.as_uri()}"><!ENTITY e0 "lol">{grown}]>'
    feed = (
        f"<?xml version='1.0'?>{before}{doctype}<rss version='2.0'><channel><title>t&e12;&s;</title><item><title>kept"
    )
    result = read(feed + "</title></item></channel></rss>")
    assert result.feed.items[0].title == "kept"
    assert len(result.title or "") < 100
    assert "the secret" not in (result.title or "")


def test_there_are_only_so_many_items():
    result = read(
        "<rss version='2.0'><channel>" + "<item><title>x</title></item>" * (MOST_ITEMS + 5) + "</channel></rss>"
    )
    assert len(result.feed.items) == MOST_ITEMS
    assert f"{MOST_ITEMS + 5:,}" in result.notes[0]


def test_what_leads_nowhere_on_the_web_is_left_out():
    item = "<item><link>javascript:alert(1)</link><enclosure url='file:///etc/passwd' type='x'/></item>"
    (found,) = read(f"<rss version='2.0'><channel>{item}</channel></rss>").feed.items
    assert (found.url, found.attachments) == (None, [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "words",
        "<p>a page",
        "{}",
        "[]",
        '{"version": 1}',
        "{",
        "\0",
        '{"version": "https://jsonfeed.org/version/1", "items": 5}',
    ],
)
def test_what_is_no_feed_is_refused(text):
    with pytest.raises(PageUnreadableError) as caught:
        read(text)
    assert (caught.value.code, caught.value.field, caught.value.retryable) == ("web.unreadable", "mode", False)


def test_a_page_that_names_its_feeds_has_them_in_the_refusal():
    page = '<link rel=alternate type="application/atom+xml" href="/feed"><p>Read us'
    with pytest.raises(PageUnreadableError, match="/feed"):
        read(page, "text/html")


def test_a_string_that_looks_like_an_address_or_a_file_is_never_opened(tmp_path):
    file = tmp_path / "feed.xml"
    file.write_text(RSS)
    for text in (str(file), file.as_uri(), "http://127.0.0.1:1/feed"):
        with pytest.raises(PageUnreadableError):
            read(text)
