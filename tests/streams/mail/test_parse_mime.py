"""Structure and transfer encodings as broken senders make them."""

from __future__ import annotations

import base64
import binascii

import pytest

from streams.mail.bounds import MAX_ATTACHMENTS, MAX_PARTS
from streams.mail.message import Attachment
from streams.mail.parse import parse


def mixed(*parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"b", close: bool = True) -> bytes:
    body = b"".join(b"--" + boundary + b"\n" + part + b"\n" for part in parts)
    end = b"--" + boundary + b"--\n" if close else b""
    return b"Subject: x\nContent-Type: multipart/" + kind + b"; boundary=" + boundary + b"\n\n" + body + end


HTML = b"Content-Type: text/html; charset=utf-8\n\n<p>the rich one</p>"
PLAIN = b"Content-Type: text/plain\n\nthe plain one"


@pytest.mark.parametrize(
    ("raw", "text", "mended"),
    [
        pytest.param(mixed(b"\none", b"\ntwo", close=False), "one\n\ntwo", ("close boundary not found",), id="no end"),
        pytest.param(
            b"Subject: x\nContent-Type: multipart/mixed\n\n--zz\nContent-Type: text/plain\n\nfound\n--zz--\n",
            "found",
            ("no boundary in multipart", "boundary: taken from the first part"),
            id="no boundary, yet parts",
        ),
        pytest.param(
            b"Subject: x\nContent-Type: multipart/mixed; boundary=aa\n\n--zz\nContent-Type: text/plain\n\nfound\n--zz--\n",
            "found",
            ("boundary: taken from the first part",),
            id="wrong boundary",
        ),
        pytest.param(
            mixed(b"Content-Type: multipart/alternative; boundary=b\n\n--b\n\ninner\n--b--", b"\nouter"),
            "inner\n\nouter",
            (),
            id="a boundary twice, one within the other",
        ),
        pytest.param(
            mixed(b"Content-Type: multipart/mixed; boundary=c\n\n--c\n\ninner", b"\nouter"),
            "inner\n\nouter",
            ("close boundary not found",),
            id="the inner end is missing",
        ),
        pytest.param(
            mixed(b"\none", boundary=b"b--") + b"tail", "one", (), id="a boundary that looks like an end of another"
        ),
        pytest.param(
            mixed(b"Content-Type: text/plain\n--b\n\ntwo"),
            "two",
            ("missing header body separator",),
            id="no body at all",
        ),
        pytest.param(
            b"Subject: x\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n"
            + base64.encodebytes(b"--b\r\nContent-Type: text/plain\r\n\r\nwrapped\r\n--b--\r\n"),
            "wrapped",
            ("boundary: taken from the first part",),
            id="a multipart in base64",
        ),
        pytest.param(
            b"Subject: x\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
            + base64.encodebytes(b"Subject: in\r\n\r\nwrapped"),
            "wrapped",
            (),
            id="a mail in base64",
        ),
        pytest.param(
            b"Subject: x\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: quoted-printable\n\n"
            b"--b\n\nplain =\n--b--",
            "plain =",
            (),
            id="a multipart only said to be quoted-printable",
        ),
        pytest.param(
            b"Subject: x\nContent-Transfer-Encoding: base64\n\n" + base64.b64encode(b"hello there, world")[:-6],
            "hello there,",
            ("invalid base64 padding",),
            id="base64 cut off",
        ),
        pytest.param(
            b"Subject: x\nContent-Transfer-Encoding: base64\n\nThis is a plain text, as anybody can see.",
            "This is a plain text, as anybody can see.",
            ("transfer encoding: said to be base64, and is not",),
            id="no base64",
        ),
        pytest.param(
            b"Subject: x\nContent-Transfer-Encoding: base64\n\n"
            + b"a plain text without any marks in long lines\n" * 50,
            "\n".join(["a plain text without any marks in long lines"] * 50),
            ("transfer encoding: said to be base64, and is not",),
            id="no base64, of letters",
        ),
        pytest.param(
            b"Subject: x\nContent-Transfer-Encoding: base64\n\n"
            + base64.encodebytes(b"hello there, world " * 200)
            + b"\n-- \nTo leave this list, write to it",
            "hello there, world " * 200 + "\n\n-- \nTo leave this list, write to it",
            ("plain text after base64",),
            id="what a list put below base64",
        ),
        pytest.param(
            b"Subject: x\nContent-Transfer-Encoding: base64\n\naGVsbG8=\nIHdvcmxk\n", "hello world", (), id="two pieces"
        ),
        pytest.param(
            b"Subject: x\nContent-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9 =XY =\nend=",
            "café =XY end",
            ("charset: read as utf-8",),
            id="quoted-printable junk",
        ),
        pytest.param(
            b"Subject: x\nContent-Transfer-Encoding: rot13\n\nas it is",
            "as it is",
            ("transfer encoding: unknown",),
            id="unknown encoding",
        ),
        pytest.param(
            b"Subject: x\nContent-Type: text\n\nstill text",
            "still text",
            ("header content-type: malformed",),
            id="no type",
        ),
        pytest.param(
            b"Subject: x\rFrom: a@example.com\r\rhello\rworld",
            "hello\nworld",
            ("line ends: bare carriage returns",),
            id="CR only",
        ),
        pytest.param(b"\xef\xbb\xbfSubject: x\n\nhi", "hi", ("a byte order mark came first",), id="BOM first"),
        pytest.param(
            b"\xff\xfe" + "Subject: x\r\n\r\nhé".encode("utf-16-le"),
            "hé",
            ("the mail came as UTF-16", "charset: read as utf-8"),
            id="UTF-16",
        ),
        pytest.param(
            b"Subject: x\nno header, but a text",
            "no header, but a text",
            ("missing header body separator",),
            id="no blank line",
        ),
        pytest.param(
            b"Received: from a\nby b; with a fold that lost its space\nSubject: x\n\nhi",
            "hi",
            ("headers: a line that is none",),
            id="broken fold",
        ),
    ],
)
def test_structure_is_mended_and_said_so(raw, text, mended):
    mail = parse(raw)
    assert (mail.subject, mail.text, mail.mended) == ("x", text, mended)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((PLAIN, HTML), "the plain one"),
        ((HTML, PLAIN), "the plain one"),
        ((b"Content-Type: text/plain\n\n \n", HTML), "the rich one"),
        (
            (b"Content-Type: text/plain\n\nView this in HTML.", HTML.replace(b"one", b"one, longer")),
            "the rich one, longer",
        ),
        ((b"Content-Type: text/x-amp-html\n\n<p>amp</p>", HTML), "the rich one"),
        ((PLAIN, b"Content-Type: multipart/related; boundary=c\n\n--c\n" + HTML + b"\n--c--"), "the plain one"),
        ((b"\n", b"Content-Type: multipart/related; boundary=c\n\n--c\n" + HTML + b"\n--c--"), "the rich one"),
    ],
)
def test_of_alternatives_the_plainest_that_says_something_is_read(parts, text):
    assert parse(mixed(*parts, kind=b"alternative")).text == text


def test_html_is_looked_at_although_the_plain_alternative_is_read():
    rich = b"Content-Type: text/html\n\n<a href=https://example.com/a>a</a><img src=x>"
    html = parse(mixed(PLAIN, rich, kind=b"alternative")).html
    assert (html.only, html.links, html.targets, html.images) == (False, 1, ("https://example.com/a",), 1)
    assert parse(mixed(b"\n", rich, kind=b"alternative")).html.only


def test_flowed_text_is_put_together_again():
    head = b"Subject: x\nContent-Type: text/plain; format=flowed"
    body = b"a paragraph \nthat goes on\n\n> quoted \n> too\n>> deeper\n From stuffed\n-- \nLea"
    assert parse(head + b"\n\n" + body).text == (
        "a paragraph that goes on\n\n> quoted too\n>> deeper\nFrom stuffed\n-- \nLea"
    )
    assert parse(head + b"; delsp=yes\n\nDonau \ndampf \nschiff").text == "Donaudampfschiff"


def test_a_uuencoded_file_in_a_text_is_an_attachment():
    lines = b"".join(binascii.b2a_uu(b"x" * 45) for _ in range(3))
    mail = parse(b"Subject: x\n\nsee below\n\nbegin 644 a\\b/../plan.txt\n" + lines + b"`\nend\nbye")
    assert mail.text.split() == ["see", "below", "bye"]
    assert mail.attachments == (Attachment("a_b_.._plan.txt", "application/octet-stream", 135),)
    assert "uuencoded file in the text" in mail.mended
    whole = b"Subject: x\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 a\n" + binascii.b2a_uu(b"hello") + b"end\n"
    assert parse(whole).text == "hello"


def test_sizes_are_those_of_the_files():
    data = bytes(range(256)) * 10
    parts = [
        b"Content-Type: a/b; name=one\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(data),
        b"Content-Type: a/b; name=two\nContent-Transfer-Encoding: quoted-printable\n\n=41=42=\n=43",
        b"Content-Type: a/b; name=three\n\nseven b",
    ]
    assert [file.size for file in parse(mixed(*parts)).attachments] == [len(data), 3, 7]


def test_thousands_of_files_are_counted_and_not_all_named():
    mail = parse(mixed(*[b"Content-Type: a/b; name=f\n\nx"] * 5000))
    assert len(mail.attachments) == MAX_ATTACHMENTS
    assert any(f"only {MAX_PARTS}" in what for what in mail.mended)
    assert any(f"only {MAX_ATTACHMENTS}" in what for what in mail.mended)


def test_a_digest_s_parts_are_mails():
    mail = parse(mixed(b"\nSubject: one\n\nfirst", b"\nSubject: two\n\nsecond", kind=b"digest"))
    assert [inner.subject for inner in mail.forwarded] == ["one", "two"]
    assert mail.text == "first\n\nsecond"
