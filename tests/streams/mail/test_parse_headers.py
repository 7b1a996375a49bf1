"""Headers: encoded words, charsets, addresses, dates, and what tries to get past them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest

from streams.mail.bounds import MAX_ADDRESSES, MAX_HEADERS, MAX_NAME
from streams.mail.message import Address
from streams.mail.parse import parse


def word(text: bytes, charset: str = "utf-8") -> str:
    return f"=?{charset}?B?{base64.b64encode(text).decode()}?="


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        ("=?utf-8?Q?caf=C3=A9_au_lait?=", "café au lait"),
        ("=?UTF-8*fr?q?caf=C3=A9?=", "café"),
        ("=?utf-8?Q?caf=C3?= =?utf-8?Q?=A9?=", "café"),  # a character cut in two
        (f"{word('日本'.encode()[:4])}\r\n {word('日本'.encode()[4:])}", "日本"),
        (f"{word('日'.encode('iso2022_jp'), 'iso-2022-jp')} {word('本'.encode('iso2022_jp'), 'ISO-2022-JP')}", "日本"),
        (f"{word('你好，镕'.encode('gb18030'), 'gb2312')}", "你好，镕"),  # beyond what GB 2312 has
        (f"{word('①'.encode('cp932'), 'shift_jis')}", "①"),
        (f"{word('힣'.encode('cp949'), 'ks_c_5601-1987')}", "힣"),
        ("=?latin1?Q?=93quoted=94?=", "“quoted”"),  # cp1252, labelled otherwise
        ("=?us-ascii?Q?caf=C3=A9?=", "café"),
        ("=?no-such?Q?plain?=", "plain"),
        ("a=?utf-8?Q?=C3=A9?=b", "aéb"),  # no space around, as the RFC wants it
        ("=?utf-8?Q?with spaces?=", "with spaces"),
        ("=?utf-8?B?aGk?=", "hi"),  # no padding
        ("=?utf-8?X?no?= =?utf-8?Q", "=?utf-8?X?no?= =?utf-8?Q"),  # none at all
        ("=?utf-7?Q?+ADw-script+AD4-?=", "+ADw-script+AD4-"),  # UTF-7 is refused
        ("Re: =?utf-8?Q?=3D=3Futf-8=3FQ=3Fx=3F=3D?=", "Re: =?utf-8?Q?x?="),  # decoded once
        ("hi =?utf-8?Q?=0D=0ABcc:_all=40example.com=00?=", "hi Bcc: all@example.com"),
        ("=?utf-8?B?8J+YgO+/vQ==?= \t x", "😀\N{REPLACEMENT CHARACTER} x"),
        ("=?utf-8?Q?=ED=A0=80?=x", None),  # a lone surrogate is some text
        (word("gpj\N{RIGHT-TO-LEFT OVERRIDE}.exe".encode()), "gpj.exe"),
    ],
)
def test_a_subject_is_read_as_it_was_meant(header, subject):
    mail = parse(f"Subject: {header}\r\nFrom: a@example.com\r\n\r\nhi".encode())
    assert subject is None or mail.subject == subject
    assert mail.subject.isprintable()


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        ("日本語の件名".encode(), "日本語の件名"),  # RFC 6532
        ("café".encode("latin-1"), "café"),
        ("café".encode("latin-1") + " €".encode(), "café â‚¬"),  # two charsets at once
    ],
)
def test_unencoded_headers_are_read_and_noted(raw, subject):
    mail = parse(b"Subject: " + raw + b"\n\nhi")
    assert mail.subject == subject
    assert "header subject: unencoded eight-bit text" in mail.mended


@pytest.mark.parametrize(
    ("name", "charset"), [("Лев Толстой", "koi8-r"), ("黄山旅游", "gb2312"), ("Łódź", "iso-8859-2"), ("café", "utf-16")]
)
def test_unencoded_headers_are_in_the_charset_of_the_text(name, charset):
    raw = name.encode("cp1252" if charset == "utf-16" else charset)
    parts = (
        b"multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=" + charset.encode() + b"\n\nhi\n--b--"
    )
    mail = parse(b"From: " + raw + b" <a@example.com>\nSubject: " + raw + b"\nContent-Type: " + parts)
    assert (mail.subject, mail.sender, mail.senders[0].name) == (name, f"{name} <a@example.com>", name)
    assert ("subject", name) in mail.headers


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("您好，朱镕基同志。".encode("gb18030"), "gb2312", "您好，朱镕基同志。"),
        ("Привет, это письмо".encode("koi8-r"), "koi8-r", "Привет, это письмо"),
        ("ｶﾀｶﾅ and 漢字".encode("iso2022_jp_ext"), "iso-2022-jp", "ｶﾀｶﾅ and 漢字"),
        ("日本語です。".encode("euc_jp")[:-1], "euc-jp", None),
        (b"\x93It\x92s fine\x94", "iso-8859-1", "“It’s fine”"),
        ("Grüße aus Köln".encode(), "windows-1252", "Grüße aus Köln"),
        ("Grüße".encode("latin-1"), "unknown-8bit", "Grüße"),
        ("Grüße".encode("latin-1"), "x-user-defined", "Grüße"),
        ("Ωραία".encode("iso8859-7"), '"iso-8859-7"', "Ωραία"),
        (b"+ADw-b+AD4-", "utf-7", "+ADw-b+AD4-"),
        (b"plain", "us-ascii (Plain text)", "plain"),
        ("é".encode(), "''utf-8", "é"),
    ],
)
def test_a_text_is_read_as_it_was_meant(body, charset, text):
    mail = parse(b"Subject: x\nContent-Type: text/plain; charset=" + charset.encode() + b"\n\n" + body)
    assert mail.text == text if text else mail.text.startswith("日本語")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a@example.com", [("", "a@example.com")]),
        ("Lea Roth <lea@example.com>", [("Lea Roth", "lea@example.com")]),
        ('"Roth, Lea" <lea@example.com>, b@example.com', [("Roth, Lea", "lea@example.com"), ("", "b@example.com")]),
        ("lea@example.com (Lea)", [("Lea", "lea@example.com")]),
        ("Team: a@x.example, B <b@x.example>;", [("", "a@x.example"), ("B", "b@x.example")]),
        ("undisclosed-recipients:;", []),
        ("=?utf-8?Q?Roth=2C_L=C3=A9a?= <lea@example.com>", [("Roth, Léa", "lea@example.com")]),
        ('"quo\\"te" <q@example.com>', [('quo"te', "q@example.com")]),
        ("a@example.com; b@example.com", [("", "a@example.com"), ("", "b@example.com")]),
        ("<a@example.com", [("", "a@example.com")]),
        ("用户@例子.example", [("", "用户@例子.example")]),
        ("no address here", [("", "no address here")]),
        ("", []),
    ],
)
def test_addresses_are_split(value, found):
    mail = parse(f"Subject: x\nTo: {value}\nCc: {value}\n\nhi".encode())
    assert mail.to == mail.cc == tuple(Address(*one) for one in found)


def test_many_addresses_are_bounded():
    mail = parse(b"Subject: x\nTo: " + b"a@example.com, " * 1000 + b"\n\nhi")
    assert len(mail.to) == MAX_ADDRESSES
    assert f"header to: only {MAX_ADDRESSES} addresses were read" in mail.mended


@pytest.mark.parametrize(
    ("head", "suspicious"),
    [
        ("From: a@example.com, b@example.org", "from: several addresses"),
        ("From: a@example.com\nFrom: b@example.org", "header from: more than one"),
        ('From: "service@bank.example" <x@evil.example>', "from: the name shows another address"),
        ("From: a@example.com\nSubject: one\nSubject: two", "header subject: more than one"),
        ("From: a\nSubject: =?utf-8?Q?=E2=80=AEx?=", "header subject: turns the direction of writing"),
        ("From: a\nContent-Type: text/plain; charset=a; charset=b", "header content-type: charset twice"),
    ],
)
def test_what_looks_made_to_deceive_is_named(head, suspicious):
    assert suspicious in parse(head.encode() + b"\n\nhi").suspicious


def test_an_honest_sender_is_not_suspected():
    assert parse(b'From: "lea@example.com" <lea@example.com>\nSubject: x\n\nhi').suspicious == ()


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ('filename="a.pdf"', "a.pdf"),
        ("filename=two words.pdf", "two words.pdf"),
        ("filename*=utf-8''na%C3%AFve.pdf", "naïve.pdf"),
        ("filename*=iso-8859-1'en'%A3.pdf; filename=x", "£.pdf"),
        ("filename*0*=utf-8''%e2%82; filename*1*=%ac; filename*2=.pdf", "€.pdf"),
        ("filename*1=b.pdf; filename*0=a", "ab.pdf"),
        ('filename="=?utf-8?Q?na=C3=AFve.pdf?="', "naïve.pdf"),
        ('filename="naïve.pdf"', "naïve.pdf"),
        ('filename="../../etc/passwd"', "_.._etc_passwd"),
        ('filename="C:\\\\Windows\\\\a.exe"', "C_Windows_a.exe"),
        ('filename="a\0b%0d%0a.txt"', "a b%0d%0a.txt"),
        ("filename*=utf-8''a%0d%0aX%3a%00b", "a X_ b"),
        ('filename="' + "n" * 500 + '.pdf"', "n" * (MAX_NAME - 4) + ".pdf"),
        ('filename="..."', "a/b"),
    ],
)
def test_a_file_s_name_is_decoded_and_made_harmless(parameter, name):
    (file,) = parse(
        f"Subject: x\nContent-Type: a/b\nContent-Disposition: attachment; {parameter}\n\nx".encode()
    ).attachments
    assert file.name == name


@pytest.mark.parametrize(
    ("said", "date"),
    [
        ("Wed, 4 Nov 2026 18:42:07 +0100", datetime(2026, 11, 4, 18, 42, 7, tzinfo=timezone(timedelta(hours=1)))),
        ("Wed,  4  Nov 2026 18:42:07 +0000 (GMT)", datetime(2026, 11, 4, 18, 42, 7, tzinfo=UTC)),
        ("4 Nov 26 18:42 EST", datetime(2026, 11, 4, 18, 42, tzinfo=timezone(timedelta(hours=-5)))),
        ("2026-11-04T18:42:07+00:00", datetime(2026, 11, 4, 18, 42, 7, tzinfo=UTC)),
        ("Wed, 4 Nov 2026 18:42:07", datetime(2026, 11, 4, 18, 42, 7, tzinfo=UTC)),
        ("Fri, 31 Dec 9999 23:59:59 -1200", None),
        ("Wed, 99 Nov 2026 99:99:99 +9999", None),
        ("yesterday", None),
    ],
)
def test_dates_are_read_or_noted(said, date):
    mail = parse(f"Subject: x\nDate: {said}\n\nhi".encode())
    assert mail.date == date
    assert ("header date: malformed" in mail.mended) == (date is None)


def test_a_header_s_end_is_found_behind_any_number_of_lines():
    received = b"Received: from a by b; Wed, 4 Nov 2026 18:42:07 +0100\n" * 100_000
    mail = parse(
        received + b"Subject: still read\nFrom: a@example.com\nDate: Wed, 4 Nov 2026 18:42:07 +0100\n\nthe text"
    )
    assert (mail.subject, mail.sender, mail.text) == ("still read", "a@example.com", "the text")
    assert mail.date is not None
    assert len(mail.headers) == MAX_HEADERS


def test_headers_tell_of_lists_and_machines():
    mail = parse(
        b"Subject: =?utf-8?Q?x=0Ay?=\nList-Id: The gardeners <Garden.Lists.example.com>\n"
        b"List-Unsubscribe: <https://example.com/u>\nAuto-Submitted: auto-replied (vacation); x=y\n\nhi"
    )
    assert (mail.list_id, mail.has_unsubscribe, mail.auto_submitted) == (
        "garden.lists.example.com",
        True,
        "auto-replied",
    )
    assert mail.headers[0] == ("subject", "x y")
    plain = parse(b"Subject: x\nAuto-Submitted: no\n\nhi")
    assert (plain.list_id, plain.has_unsubscribe, plain.auto_submitted) == ("", False, "")
