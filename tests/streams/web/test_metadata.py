"""Metadata, microdata and links: each by its own rules, and what is broken costs nothing else."""

from __future__ import annotations

import json

import pytest

from schemas.nesting import is_deep
from streams.web.links import MOST_LINKS
from streams.web.metadata import MOST_JSON_LD
from streams.web.microdata import MOST_VALUES
from streams.web.work import Mode
from tests.streams.web.reading import scraped

HEAD = """<html><head><title>Log</title><meta name="Description" content=" The
 keeper's log "><meta name=author content=Ada><meta name=author content=Grace>
<meta property="og:title" content="The log"><meta property="og:image" content="/1.png">
<meta property="og:image" content="/2.png"><meta property="article:tag" content="sea"><meta name="twitter:card" content="summary">
<link rel=canonical href="/log"><link rel="shortcut icon" href="/i.ico" sizes="16x16"><link rel=icon type=image/png href="http://[">
<link rel=alternate type="application/rss+xml" title="All" href="feed.xml"><link rel=alternate hreflang=de href=/de>
"""


def metadata(page):
    return scraped(page, Mode.METADATA).metadata


def ld(*blocks):
    page = "".join(f'<script type="application/ld+json">{block}</script>' for block in blocks)
    result = scraped(page, Mode.METADATA)
    return result.metadata.json_ld, result.notes


def test_the_head_is_read():
    found = metadata(HEAD)
    assert found.description == "The keeper's log"
    assert found.canonical == "https://lighthouse.example/log"
    assert found.meta == {"description": "The keeper's log", "author": ["Ada", "Grace"]}
    assert found.open_graph == {"og:title": "The log", "og:image": ["/1.png", "/2.png"], "article:tag": "sea"}
    assert found.twitter == {"twitter:card": "summary"}
    assert [icon.model_dump() for icon in found.icons] == [
        {"url": "https://lighthouse.example/i.ico", "type": None, "sizes": "16x16"}
    ]
    assert [feed.model_dump() for feed in found.feeds] == [
        {"url": "https://lighthouse.example/log/feed.xml", "type": "application/rss+xml", "title": "All"}
    ]


def test_a_page_that_says_nothing_has_empty_parts():
    assert metadata("<p>x").model_dump(exclude_defaults=True) == {}
    assert metadata('<meta property="og:description" content="o">').description == "o"


class TestJsonLd:
    def test_objects_of_all_blocks_are_taken_as_they_stand(self):
        graph = {"@context": "https://schema.org", "@graph": [{"@type": "Person", "name": "Ada"}]}
        assert ld(
            json.dumps(graph), '[{"a": 1.5}, "no object"]', "<!-- {} -->", "//<![CDATA[\n{}\n//]]>", '{"b": 1};'
        ) == (
            [graph, {"a": 1.5}, {}, {}, {"b": 1}],
            [],
        )

    def test_what_javascript_allows_is_read(self):
        blocks = (
            '/*<![CDATA[*/{"a": "/* // , ] kept"}/*]]>*/',
            '{"b": [1, 2,], // two\n "c": {"d": 1, } /* last */, }',
            '\ufeff{"e": "\\",}"}',
        )
        assert ld(*blocks) == ([{"a": "/* // , ] kept"}, {"b": [1, 2], "c": {"d": 1}}, {"e": '",}'}], [])

    def test_a_type_with_a_parameter_is_the_same(self):
        page = '<script type="Application/LD+JSON; charset=utf-8">{"a": 1}</script>'
        assert metadata(page).json_ld == [{"a": 1}]

    def test_there_is_only_so_much(self):
        found, notes = ld('{"a": 1}', "[" + "{}," * (MOST_JSON_LD // 3) + "{}]", '{"b": 2}')
        assert found == [{"a": 1}]
        assert "block 2" in notes[0]

    def test_line_ends_in_strings_are_read(self):
        assert ld('{"a": "one\ntwo"}') == ([{"a": "one\ntwo"}], [])

    @pytest.mark.parametrize(
        "broken",
        [
            '{"a": 1,, }',
            "not json",
            '{"a": "/*"',
            '{"a": NaN}',
            '{"a": "\\ud800"}',
            "[" * 100_000,
            '{"a":' * 199 + "1" + "}" * 199,
        ],
    )
    def test_a_broken_block_is_named_and_the_others_are_read(self, broken):
        found, notes = ld('{"a": 1}', broken, '{"b": 2}')
        assert found == [{"a": 1}, {"b": 2}]
        assert notes[0].startswith("JSON-LD 2 can't be read")

    def test_what_nests_as_deep_as_it_may_gives_a_result_that_does_not_nest_too_deep(self):
        block = '{"a":' * 197 + "1" + "}" * 197
        result = scraped(f'<script type="application/ld+json">{block}</script>', Mode.METADATA)
        assert result.metadata.json_ld
        assert not is_deep(result.model_dump_json().encode())


class TestMicrodata:
    PERSON = """<div itemscope itemtype="https://schema.org/Person https://schema.org/Keeper" itemid="#ada" itemref="more none">
      <span itemprop="name alternateName">Ada <b>Fisher</b></span><img itemprop="image" src="ada.png">
      <a itemprop="url" href="/ada">her page</a><meta itemprop="email" content=" a@b.example ">
      <div itemprop="address" itemscope><span itemprop="city">Brest</span></div></div>
      <p id="more"><time itemprop="birthDate" datetime="1980-01-02">long ago</time><data itemprop=n value=7>seven</data></p>
      <span itemprop="stray">not in an item</span>"""

    def test_items_and_items_within_and_by_reference(self):
        (item,) = metadata(self.PERSON).microdata
        assert item.type == ["https://schema.org/Person", "https://schema.org/Keeper"]
        assert item.id == "https://lighthouse.example/log/today?page=2#ada"
        address = item.properties.pop("address")[0]
        assert address.properties == {"city": ["Brest"]}
        assert item.properties == {
            "name": ["Ada Fisher"],
            "alternateName": ["Ada Fisher"],
            "image": ["https://lighthouse.example/log/ada.png"],
            "url": ["https://lighthouse.example/ada"],
            "email": ["a@b.example"],
            "birthDate": ["1980-01-02"],
            "n": ["7"],
        }

    @pytest.mark.slow
    def test_as_extruct_reads_it(self):
        from extruct.w3cmicrodata import MicrodataExtractor

        page = """<div itemscope itemtype="http://schema.org/Product"><h1 itemprop="name">Lamp</h1>
          <div itemprop="offers" itemscope itemtype="http://schema.org/Offer"><span itemprop="price">7</span>
          <link itemprop="availability" href="http://schema.org/InStock"></div><a itemprop="url" href="/lamp">x</a></div>
          <section itemscope itemtype="http://schema.org/Person"><b itemprop="name">Ada</b></section>"""
        theirs = MicrodataExtractor(strict=True).extract(page, base_url="https://lighthouse.example/log/")
        ours = [item.model_dump(exclude_none=True) for item in metadata(page).microdata]
        assert ours == theirs

    def test_references_may_be_many_and_anything(self):
        names = " ".join(map(str, range(100_000)))
        (item,) = metadata(
            f"<div itemscope itemref='\x1b {names}'></div>{'<p id=none>' * 10_000}<b id=7 itemprop=x>1"
        ).microdata
        assert item.properties == {"x": ["1"]}

    def test_an_item_can_not_hold_itself(self):
        (item,) = metadata(
            "<div itemscope id=a itemref=b></div><p id=b itemprop=p itemscope itemref=b><i itemprop=x>1"
        ).microdata
        assert item.properties["p"][0].properties == {"x": ["1"]}

    def test_what_grows_by_reference_is_bounded(self):
        blocks = "".join(
            f"<p id=b{n}>" + f"<i itemprop=p itemscope itemref=b{n + 1}></i>" * 10 + "</p>" for n in range(12)
        )
        result = scraped(f"<div itemscope itemref=b0></div>{blocks}<p id=b12>", Mode.METADATA)
        assert f"{MOST_VALUES:,}" in result.notes[0]


class TestLinks:
    def test_each_address_comes_once_in_order_with_its_first_text_and_all_rels(self):
        result = scraped(
            """<base href="/shop/"><a href="lamp"><img src=x alt="a lamp"></a> <a href=" lamp " rel="nofollow">again</a>
            <a href="//other.example/x#part" title="other">  </a><a href="">self</a><a href="#top">top</a>
            <a href="mailto:ada@example.com">mail</a><a href="javascript:x()">js</a><a name=x>none</a>
            <map><area href="/map" alt="map"></map><a href="http://[">broken</a><a href="lamp" rel="nofollow ugc">3</a>""",
            Mode.LINKS,
        )
        assert [link.model_dump() for link in result.links] == [
            {"url": "https://lighthouse.example/shop/lamp", "text": "a lamp", "rel": ["nofollow", "ugc"]},
            {"url": "https://other.example/x#part", "text": "other", "rel": []},
            {"url": "https://lighthouse.example/map", "text": "map", "rel": []},
        ]
        assert len(result.notes) == 1

    @pytest.mark.slow
    def test_there_are_only_so_many(self):
        result = scraped("".join(f"<a href={n}>x</a>" for n in range(MOST_LINKS + 1)), Mode.LINKS)
        assert len(result.links) == MOST_LINKS
        assert f"{MOST_LINKS:,}" in result.notes[0]
