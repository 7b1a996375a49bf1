from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files

import pytest

from streams.mail.bounds import MAX_DEPTH, MAX_HEADER, MAX_PARTS, MAX_TEXT
from streams.mail.message import Attachment
from streams.mail.parse import parse

SAMPLES = files("barnabas") / "samples"


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.eml").read_bytes()


def test_reads_encoded_words_and_quoted_printable():
    mail = parse(sample("personal"))
    assert mail.subject == "Dimanche à la maison"
    assert "Je t'embrasse très fort" in mail.text
    assert mail.date == datetime(2026, 11, 4, 18, 42, 7, tzinfo=UTC)


def test_of_alternatives_the_plain_one_is_read_once():
    text = parse(sample("newsletter")).text
    assert text.count("Plant garlic now") == 1
    assert "color:" not in text


def test_html_alone_is_read_without_its_code():
    mail = parse(
        b"Subject: Hi\nContent-Type: text/html; charset=utf-8\n\n"
        b"<html><head><title>no</title><style>no</style></head><body><script>no()</script><!-- no -->"
        b"<p>Sch&ouml;ne <b>Gr\xc3\xbc\xc3\x9fe</b></p><p>bye"
    )
    assert mail.text.split() == ["Schöne", "Grüße", "bye"]


@pytest.mark.parametrize(
    ("raw", "text", "mended"),
    [
        (b"Subject: x\nContent-Type: text/plain; charset=utf-8\n\ncaf\xe9", "café", "charset: read as cp1252"),
        (
            b"Subject: x\nContent-Type: text/plain; charset=us-ascii\n\n\xc3\xa9t\xc3\xa9",
            "été",
            "charset: read as utf-8",
        ),
        (b"Subject: x\nContent-Type: text/plain; charset=x-unknown\n\nhi", "hi", "charset: read as utf-8"),
        (b"Subject: x\nContent-Transfer-Encoding: base64\n\naGVsbG8", "hello", "invalid base64 padding"),
        (b"Subject: x\nContent-Type: multipart/mixed\n\nhello", "hello", "no boundary in multipart"),
        (b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhello", "hello", "close boundary not found"),
        (b"Subject: x\nDate: the day before\n\nhi", "hi", "header date: malformed"),
        (b"Subject: caf\xc3\xa9\n\nhi", "hi", "header subject: unencoded eight-bit text"),
        (b"Subject: " + b"x" * 3000 + b"\n\nhi", "hi", f"header subject: cut to {MAX_HEADER} characters"),
    ],
)
def test_mends_and_says_so(raw, text, mended):
    mail = parse(raw)
    assert mail.text == text
    assert mended in mail.mended


def test_a_mailbox_s_separator_and_blank_lines_are_no_part_of_the_mail():
    assert parse(b"\r\n\nFrom nadia@example.com Wed Nov 4 19:42:07 2026\nSubject: hi\n\nyo").subject == "hi"


def test_a_header_can_t_bring_lines_of_its_own():
    mail = parse(b"Subject: =?utf-8?Q?hi=0D=0ABcc:_all@example.com?=\nFrom: a\r\n b\n\nyo")
    assert "\n" not in mail.subject + mail.sender


def test_attachments_are_named_and_not_read():
    mail = parse(
        b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nsee below\n"
        b"--b\nContent-Type: text/plain\nContent-Disposition: attachment; filename=secret.txt\n\nunread\n"
        b"--b\nContent-Type: application/pdf; name=offer.pdf\n\n%PDF\n--b\nContent-Type: image/png\n\nx\n--b--\n"
    )
    assert mail.text == "see below"
    assert mail.attachments == (
        Attachment("secret.txt", "text/plain", 6),
        Attachment("offer.pdf", "application/pdf", 4),
        Attachment("image/png", "image/png", 1),
    )


def test_a_forwarded_mail_is_read_too():
    mail = parse(b"Subject: Fwd\nContent-Type: message/rfc822\n\nSubject: inner\n\nthe inner text")
    assert (mail.subject, mail.text) == ("Fwd", "the inner text")


def test_parts_are_bounded():
    parts = b"".join(b"--b\n\npart %d\n" % number for number in range(3000))
    mail = parse(b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n" + parts + b"--b--")
    assert f"part {MAX_PARTS - 2}" in mail.text
    assert f"part {MAX_PARTS + 1}" not in mail.text
    assert any(str(MAX_PARTS) in what for what in mail.mended)


def test_depth_is_bounded():
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(MAX_DEPTH + 5))
    mail = parse(b"Subject: x\n" + nested + b"\nthe bottom")
    assert "the bottom" not in mail.text
    forwarded = parse(b"Subject: x\n" + b"Content-Type: message/rfc822\n\n" * 3000 + b"the bottom")
    assert "the bottom" not in forwarded.text
    assert any(str(MAX_DEPTH) in what for what in forwarded.mended)


MIXED = b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n"


@pytest.mark.parametrize(
    ("raw", "mended"),
    [
        (b"Subject: x\nContent-Type: text/plain; " + b"a*0=x; " * 60_000 + b"\n\nhi", ""),
        (b"Subject: x\nContent-Type: text/plain; " + b"a=(" * 60_000 + b"\n\nhi", ""),
        (b"From: " + b'"' * 60_000 + b"\n\nhi", "header from: cut"),
        (MIXED + b"--b\n\n" * 58_000, "parts: only"),
        (MIXED + b"\r--b\r\r" * 58_000, "parts: only"),
        (MIXED + b"--c\n" * 200_000, "lines that begin with --: only"),
        (
            MIXED + b"".join(b"--b\nContent-Type: x/y; n=%d;%s\n\n" % (n, b"a=(" * 700) for n in range(3000)),
            "parts: only",
        ),
        (b"Subject: x\n" + b"a:b\n" * 1_000_000, "headers: only"),
        (
            b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(300))
            + b"\nx" * 600_000,
            "parts: only",
        ),
    ],
)
@pytest.mark.slow
@pytest.mark.timeout(60)  # unbounded, each took from ten seconds to hours
def test_a_mail_made_to_hurt_is_read_as_far_as_it_costs_little(raw, mended):
    mail = parse(raw)
    assert any(mended in what for what in mail.mended or [""])


def test_text_is_bounded():
    assert len(parse(b"Subject: x\n\n" + b"word" * 1_000_000).text) == MAX_TEXT
