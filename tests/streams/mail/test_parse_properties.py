"""Whatever the bytes are: a mail within its bounds and without a control character, or a typed error."""

from __future__ import annotations

import re
import tracemalloc
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import PayloadError
from streams.mail import bounds
from streams.mail.markup import read
from streams.mail.parse import parse
from streams.mail.rtf import text_of
from streams.mail.smime import BrokenError, signed_content
from streams.mail.tnef import SIGNATURE
from streams.mail.tnef import read as unpack

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

TOKENS = [
    *(b"\n", b"\n\n", b"\r", b"\0", b"\n--b\n", b"\n--b--\n", b"=?utf-8?B?", b"=?iso-2022-jp?Q?=1B$B", b"?=", b"\xe2\x80\xae"),
    *(b"Content-Type: ", b"multipart/mixed; boundary=b\n", b"multipart/alternative", b"message/rfc822\n\n", b"text/html\n\n"),
    *(b"text/calendar\n\n", b"application/ms-tnef\n", b"application/pkcs7-mime\n", b"text/plain; format=flowed; delsp=yes\n"),
    *(b"Content-Transfer-Encoding: ", b"base64\n\n", b"quoted-printable\n\n", b"x-uuencode\n\n", b"begin 644 x\n", b"end\n"),
    *(b"; charset=utf-7", b"; charset*0*=utf-8''%e2", b"; filename*1=../x", b'Content-Disposition: attachment; filename="'),
    *(b"<p style='display:none'>", b'<a href="', b"&#x", b"<!--", b"<td>", b"</", b"From: ", b"Date: ", b"Subject: ", b"To: "),
    *(b"-----BEGIN PGP MESSAGE-----\n", b"-----BEGIN PGP SIGNED MESSAGE-----\n", b"BEGIN:VEVENT\nSUMMARY:", b"\xff\xfe", b"\xc2\x85"),
]  # fmt: skip
SAMPLES = [path.read_bytes() for path in (files("barnabas") / "samples").iterdir() if path.name.endswith(".eml")]

arranged = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=8), max_size=40).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Valid mails, with pieces cut out, put in, doubled and overwritten."""
    raw = draw(st.sampled_from(SAMPLES))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.sampled_from([0, 1, 3, 20, 200])))
        piece = draw(st.sampled_from(TOKENS) | st.binary(max_size=4) | st.just(raw[start:end] * 3))
        raw = raw[:start] + piece + raw[end:]
    return raw


def held(raw: bytes) -> None:
    """Read a mail, and hold what comes of it against every promise."""
    try:
        mail = parse(raw)
    except PayloadError as error:
        assert error.field == "raw"
        return
    people = [text for one in (*mail.senders, *mail.to, *mail.cc) for text in (one.name, one.address)]
    names = [text for file in mail.attachments for text in (file.name, file.type)]
    inner = [text for one in mail.forwarded for text in (one.subject, one.sender)]
    headers = [text for pair in mail.headers for text in pair]
    of_one_line = [mail.subject, mail.sender, mail.list_id, mail.auto_submitted, *mail.mended, *mail.suspicious]
    for text in [*of_one_line, *people, *names, *inner, *headers, *mail.html.targets]:
        assert not CONTROLS.search(text)
        assert len(text) <= bounds.MAX_HEADER
    for text in [mail.text, *(one.text for one in mail.forwarded)]:
        assert not IN_TEXT.search(text)
    assert all(not set(file.name) & set("/\\:") for file in mail.attachments if file.name != file.type)
    assert all(file.size <= bounds.MAX_UNWRAPPED for file in mail.attachments)
    assert len(mail.text) <= bounds.MAX_TEXT
    assert len(mail.attachments) <= bounds.MAX_ATTACHMENTS
    assert len(mail.forwarded) <= bounds.MAX_FORWARDED
    assert len(mail.headers) <= bounds.MAX_HEADERS
    assert len(mail.mended) <= bounds.MAX_FINDINGS
    assert mail.date is None or mail.date.tzinfo


@given(st.binary(max_size=300))
def test_any_bytes(raw):
    for data in (raw, b"Subject: " + raw, b"Content-Type: " + raw + b"\n\nbody", b"From: " + raw + b"\nDate: " + raw):
        held(data)


@given(arranged)
def test_any_arrangement_of_mail_s_own_marks(raw):
    held(raw)
    held(b"From: a@example.com\n" + raw)


MEBIBYTE = 1 << 20
SEALED = b"Subject: x\nContent-Type: application/pkcs7-mime\nContent-Transfer-Encoding: "
HOSTILE = {
    "base64 of letters apart": SEALED + b"base64\n\n" + b"A=" * (MEBIBYTE // 2),
    "uuencoded lines that promise more": SEALED + b"x-uuencode\n\nbegin 644 x\n" + b"M\n" * (MEBIBYTE // 2),
    "fields": b"Content-Type: multipart/mixed; boundary=b\n\n" + (b"--b\n" + b"a:b\n" * 250 + b"\n") * 999,
    "open elements": b"Content-Type: text/html\n\n" + b"<b>" * (MEBIBYTE // 3),
    "quoted lines": b"Content-Type: text/plain; format=flowed\n\n" + b"> \n" * (MEBIBYTE // 3),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.slow
def test_a_mail_takes_no_more_memory_than_its_length_warrants(raw):
    tracemalloc.start()
    try:
        parse(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * MEBIBYTE


@given(mutated())
def test_any_damage_to_a_mail(raw):
    held(raw)


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["<p>", "<b style='display:none'>", "</p>", "<!--", "<td>", "<a href='"])).map("".join)
)
def test_any_html(source):
    assert len(read(source).text) <= 3 * len(source)


@given(st.binary(max_size=300))
def test_any_winmail_rtf_and_signature(data):
    assert isinstance(unpack(SIGNATURE + b"\0\0" + data).text, str)
    assert isinstance(text_of(data), str)
    try:
        assert len(signed_content(data)) <= len(data)
    except BrokenError as error:
        assert str(error)


@given(st.integers(0, 40), st.sampled_from([b"multipart/mixed; boundary=b%d\n\n--b%d\n", b"message/rfc822\n\n"]))
def test_work_is_counted_however_deep_it_lies(depth, kind):
    raw = b"Subject: x\n" + b"".join(
        b"Content-Type: " + (kind % (n, n) if b"%d" in kind else kind) for n in range(depth)
    )
    mail = parse(raw + b"\nthe bottom")
    assert ("the bottom" in mail.text) == (depth <= bounds.MAX_DEPTH)
