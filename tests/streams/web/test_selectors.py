"""Selectors: attributes, addresses, lists of objects, HTML and XML, and what is refused."""

from __future__ import annotations

import pytest

from streams.errors import PayloadError
from streams.web.selectors import MOST_VALUES
from streams.web.work import Mode, check
from tests.streams.web.reading import css, scraped, xpath

PAGE = """<!doctype html><html lang="en"><head><title>Lamps</title><base href="/shop/"></head><body>
<div class="lamp" id="a"><h2>Fresnel <!-- not this --><em>two</em></h2><a href="fresnel">more</a>
  <ul><li>brass<li>glass</ul></div>
<div class="lamp"><h2>Argand</h2><a href="//other.example/argand">more</a></div>
<a class="broken" href="http://[">broken</a></body></html>"""


def data(picks, page=PAGE, **how):
    return scraped(page, Mode.SELECTORS, picks, **how).data


def test_each_match_becomes_an_object_and_each_of_those_may_hold_more():
    lamps = css(
        ".lamp",
        each={
            "name": css("h2"),
            "page": css("a", attr="href", url=True),
            "id": xpath("@id"),
            "parts": xpath(".//li", each={"letters": xpath("string-length(.)"), "text": xpath(".")}),
            "first": css("li"),
            "all": css("li", all=True),
        },
    )
    assert data({"lamps": lamps}) == {
        "lamps": [
            {
                "name": "Fresnel two",
                "page": "https://lighthouse.example/shop/fresnel",
                "id": "a",
                "parts": [{"letters": "5.0", "text": "brass"}, {"letters": "5.0", "text": "glass"}],
                "first": "brass",
                "all": ["brass", "glass"],
            },
            {
                "name": "Argand",
                "page": "https://other.example/argand",
                "id": None,
                "parts": [],
                "first": None,
                "all": [],
            },
        ]
    }


def test_each_makes_objects_of_elements_alone():
    assert data({"none": xpath("//h2/text()", each={"x": xpath(".")})}) == {"none": []}


def test_addresses_are_made_whole_only_where_that_is_asked_for_and_unreadable_ones_are_none():
    picks = {
        "as it stands": css("a", attr="href"),
        "whole": css("a", attr="href", url=True),
        "broken": css(".broken", attr="href", url=True),
        "all": css("a", attr="href", url=True, all=True),
    }
    assert data(picks) == {
        "as it stands": "fresnel",
        "whole": "https://lighthouse.example/shop/fresnel",
        "broken": None,
        "all": ["https://lighthouse.example/shop/fresnel", "https://other.example/argand"],
    }


def test_xpath_gives_texts_numbers_and_truths():
    picks = {"count": xpath("count(//h2)"), "is": xpath("boolean(//h2)"), "text": xpath("//li/text()")}
    assert data(picks) == {"count": "2.0", "is": "1", "text": "brass"}


@pytest.mark.parametrize("content_type", ["application/xml", "text/xml", "application/vnd.acme+xml"])
def test_xml_keeps_the_case_of_its_names_and_needs_no_namespaces(content_type):
    page = """<?xml version="1.0" encoding="koi8-r"?><log xmlns="urn:log" xmlns:d="urn:dc" xml:lang="de">
      <title>Log</title><Entry d:id="7"><d:keeperName>Ada</d:keeperName><link>x</link></Entry></log>"""
    picks = {
        "css": css("Entry > keeperName"),
        "lower": css("entry"),
        "xpath": xpath("//Entry/@id"),
        "link": css("link", url=True),
    }
    result = scraped(page, Mode.SELECTORS, picks, content_type=content_type)
    assert result.data == {"css": "Ada", "lower": None, "xpath": "7", "link": "https://lighthouse.example/log/x"}
    assert (result.title, result.language) == ("Log", "de")


def test_broken_xml_has_names_without_their_prefixes_as_well():
    page = '<feed><a:b:c/><media:title plain="1" x:plain="2" y:other="3">Fog</media:title><:d/></feed>'
    picks = {"title": css("title"), "plain": xpath("//@plain"), "other": xpath("//@other"), "c": xpath("count(//c)")}
    assert data(picks, page, content_type="text/xml") == {"title": "Fog", "plain": "1", "other": "3", "c": "1.0"}


def test_half_a_character_is_replaced():
    assert data({"p": css("p")}, "<x><p>a&#xD83D;&#56832;b</p></x>", content_type="text/xml") == {"p": "a\ufffd\ufffdb"}


def test_comments_have_a_text_and_are_no_objects():
    picks = {"all": xpath("//p/node()", all=True), "objects": xpath("//comment()", each={"x": xpath(".")})}
    assert data(picks, "<p>one<!--two--><b>three</b>") == {"all": ["one", "two", "three"], "objects": []}


@pytest.mark.parametrize("base", ["javascript:alert(1)", "data:text/html,x", "mailto:a@b.example", "http://["])
def test_a_base_that_is_not_on_the_web_is_none(base):
    page = f'<base href="{base}"><a href="/x">x</a>'
    assert data({"a": css("a", attr="href", url=True)}, page) == {"a": "https://lighthouse.example/x"}


def test_the_title_of_a_picture_is_not_that_of_the_page():
    assert scraped("<svg><title>icon</title></svg><p>x", Mode.SELECTORS, {"p": css("p")}).title is None


def test_xhtml_is_read_as_html():
    page = '<html xmlns="http://www.w3.org/1999/xhtml"><body><P>one<br/>two</P></body></html>'
    assert data({"p": css("p")}, page, content_type="application/xhtml+xml") == {"p": "onetwo"}


@pytest.mark.parametrize(
    ("picks", "field"),
    [
        ({"a": css("div >")}, "selectors.a"),
        ({"a": xpath("//a[")}, "selectors.a"),
        ({"a": css("div", each={"b": css("p", each={"c": css("::nothing")})})}, "selectors.a.each.b.each.c"),
        ({"a": css("div", each={"b": css("p", attr="{")})}, "selectors.a.each.b.attr"),
        ({"a": css("p", attr="\0")}, "selectors.a.attr"),
        ({"a": xpath("//p[re:test(., '^(a+)+$')]")}, "selectors.a"),
    ],
)
def test_what_can_not_be_read_is_named(picks, field):
    with pytest.raises(PayloadError) as caught:
        check(picks)
    assert caught.value.field == field


@pytest.mark.parametrize("expression", ["no-such(//p)", "//x:p", "$unknown"])
def test_what_can_not_be_evaluated_is_named(expression):
    picks = {"outer": css("div", each={"inner": xpath(expression)})}
    check(picks)
    with pytest.raises(PayloadError, match="evaluated") as caught:
        data(picks)
    assert caught.value.field == "selectors.outer.each.inner"


def test_regular_expressions_are_not_there_even_by_their_full_name():
    """XPath has no way to declare a prefix, and the evaluator knows none for them."""
    with pytest.raises(PayloadError):
        check({"a": xpath("//p[re:match(., 'x')]")})
    with pytest.raises(PayloadError):
        data({"a": xpath("//p['re:'][regexp:match(., 'x')]")}, "<p>x")


class TestHostilePages:
    @pytest.mark.slow
    def test_there_are_only_so_many_values(self):
        page = "<p>" * (MOST_VALUES // 2)
        picks = {"first": css("p", all=True), "then": css("p", each={"b": css("b"), "p": xpath(".")}), "one": css("p")}
        result = scraped(page, Mode.SELECTORS, picks)
        assert len(result.data["first"]) == MOST_VALUES // 2
        assert len(result.data["then"]) == MOST_VALUES // 6
        assert result.data["one"] == ""
        assert result.notes == [f"only the first {MOST_VALUES:,} values were taken"]

    def test_a_page_that_nests_too_deep_is_read_as_far_as_it_may_and_says_so(self):
        result = scraped("<p>first</p>" + "<div>" * 100_000 + "last", Mode.SELECTORS, {"p": css("p"), "last": css("i")})
        assert result.data == {"p": "first", "last": None}
        assert "deeper" in result.notes[0]

    def test_an_xml_bomb_does_not_grow_and_says_so(self):
        entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
        page = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "lol">{entities}]><x><a>kept</a>&e12;</x>'
        result = scraped(page, Mode.SELECTORS, {"a": css("a"), "x": xpath("string(/*)")}, content_type="text/xml")
        assert result.data["a"] == "kept"
        assert len(result.data["x"]) < 100

    def test_a_page_can_not_read_files(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("the secret")
        page = f'<!DOCTYPE x [<!ENTITY s SYSTEM "{secret.as_uri()}">]><x>[&s;]</x>'
        for content_type in ("text/xml", "text/html"):
            result = scraped(page, Mode.SELECTORS, {"x": xpath("string(/*)")}, content_type=content_type)
            assert "the secret" not in result.data["x"]

    @pytest.mark.parametrize("page", ["", "\0\0", "<", "<!-- only", "<?xml", "\ufeff", "]]>"])
    @pytest.mark.parametrize("content_type", ["text/html", "text/xml"])
    def test_next_to_nothing_is_a_page(self, page, content_type):
        assert data({"p": css("p")}, page, content_type=content_type) == {"p": None}
