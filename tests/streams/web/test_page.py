"""How a page's bytes are read, whatever it and its server say of their charset."""

from __future__ import annotations

import httpx
import pytest

from backbone.net import Answer
from streams.web.page import page_of

URL = "https://lighthouse.example/"


def read(body, content_type="text/html"):
    answer = Answer(URL, 200, httpx.Headers({"content-type": content_type}), body)
    return page_of(answer, URL, from_cache=False)


@pytest.mark.parametrize(
    "page",
    [
        '<meta charset="utf-16"><p>plain words..',
        '<?xml version="1.0" encoding="utf-16"?><x/>.',
        '<?xml version="1.0" encoding="UTF-16LE"?><x>..</x>',
        '<meta charset="utf-32le"><p>plain',
    ],
)
def test_a_page_that_says_in_ascii_that_it_is_none_is_not_believed(page):
    for wide in (page, page + "."):  # of an even and an odd length
        assert read(wide.encode()).text == wide


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7", "punycode", "idna", "cp037", "hz", "base64", "\0"])
def test_a_charset_that_would_hide_markup_is_not_believed(charset):
    page = rb"<p>\x3cscript\ud800+ADw-script+AD4-"
    assert read(page, f"text/html; charset={charset}").text == page.decode("ascii")


def test_what_the_server_says_is_believed_before_what_the_page_says():
    body = '<meta charset="koi8-r">Маяк'.encode("cp1251")
    assert read(body, "text/html; charset=windows-1251").text.endswith("Маяк")
