from __future__ import annotations

import base64
import os
import sys
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from subprocess import run

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.settings import Settings
from streams.errors import PayloadError
from streams.handlers.mail import MailClassify
from streams.mail_parse import MAX_DEPTH, MAX_HEADER, MAX_PARTS, MAX_TEXT, parse
from tests.contracts.handler import HandlerContract, context, read

SAMPLES = files("barnabas") / "samples"


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.eml").read_bytes()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.mark.slow
class TestMailClassify(HandlerContract):
    handler_class = MailClassify

    @pytest.fixture
    def settings(self, home):
        return Settings(home=home)

    @pytest.fixture
    def example(self):
        return {"raw": sample("invoice").decode()}

    @pytest.fixture
    def bad(self):
        return {
            "raw": {"raw": "just a sentence"},
            "raw_base64": {"raw_base64": base64.b64encode(b"just a sentence").decode()},
            "": {},
            "labels": {"raw": "From: a@example.com\n\nhi", "labels": {"only": "one"}},
        }

    @pytest.mark.parametrize("name", ["invoice", "personal", "newsletter"])
    async def test_each_sample_gets_its_own_label(self, handler, name):
        result = await handler.run(read(handler, {"raw": sample(name).decode()}), context())
        assert result.top == name
        assert list(result.labels.values()) == sorted(result.labels.values(), reverse=True)
        assert sum(result.labels.values()) == pytest.approx(1)
        assert result.mended == ()

    @pytest.mark.parametrize(
        ("top", "raw"),
        [
            (
                "work",
                "Subject: Q3 report\n\nHi all, comments on the draft report by Thursday please, then I send it to the client.",
            ),
            (
                "travel",
                "Subject: Gatwick to Lisbon\n\nBooking X7K2PQ. Depart Monday 10:40, arrive 13:20. Check in online.",
            ),
            (
                "security",
                "Subject: Was this you?\n\nA sign-in to your account from Warsaw. If not, reset your password now.",
            ),
            (
                "spam",
                "Subject: WINNER!!!\n\nDear lucky winner, claim your one million now, send bank details!!! 100% free money",
            ),
            (
                "support",
                "Subject: Re: [Ticket 4471] Printer offline\n\nThanks for contacting us. Please restart the printer.",
            ),
        ],
    )
    async def test_other_plain_cases(self, handler, top, raw):
        assert (await handler.run(read(handler, {"raw": raw}), context())).top == top

    async def test_bytes_and_text_of_a_mail_are_the_same_mail(self, handler):
        as_text = await handler.run(read(handler, {"raw": sample("personal").decode()}), context())
        as_bytes = {"raw_base64": base64.b64encode(sample("personal")).decode()}
        assert await handler.run(read(handler, as_bytes), context()) == as_text
        assert as_text.from_ == "Odile Lefèvre <odile@lefevre.example.com>"
        assert as_text.model_dump(by_alias=True)["from"] == as_text.from_

    async def test_a_user_s_own_labels_take_the_place_of_the_built_in_ones(self, handler):
        labels = {"garden": "gardening, plants, vegetables and compost", "money": "bills, bank accounts and payments"}
        for name, top in (("newsletter", "garden"), ("invoice", "money")):
            result = await handler.run(read(handler, {"raw": sample(name).decode(), "labels": labels}), context())
            assert result.top == top
            assert set(result.labels) == set(labels)


@pytest.mark.parametrize("module", ["cron", "mail", "web"])
def test_a_handler_s_module_loads_nothing_heavy(module):
    heavy = {
        "torch",
        "transformers",
        "onnx",
        "onnxruntime",
        "tokenizers",
        "numpy",
        "trafilatura",
        "parsel",
        "lxml",
        "httpx",
    }
    program = f"import sys, streams.handlers.{module}; print(*sorted({heavy!r} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root, env=os.environ)
    assert done.stdout.split() == []


# The parser: what the world sends.


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
    assert (mail.text, mail.attachments) == ("see below", ("secret.txt", "offer.pdf", "image/png"))


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
        (MIXED + b"--b\n\n" * 58_000, "lines that begin with --: only"),
        (MIXED + b"\r--b\r\r" * 58_000, "lines that begin with --: only"),
        (MIXED + b"".join(b"--b\nContent-Type: x/y; n=%d;%s\n\n" % (n, b"a=(" * 700) for n in range(3000)), "--: only"),
        (b"Subject: x\n" + b"a:b\n" * 1_000_000, "lines: only"),
        (
            b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(300))
            + b"\nx" * 600_000,
            "lines: only",
        ),
    ],
)
@pytest.mark.slow
@pytest.mark.timeout(60)  # unbounded, each took from ten seconds to hours
def test_a_mail_made_to_hurt_is_read_as_far_as_it_costs_little(raw, mended):
    mail = parse(raw)
    assert any(mended in what for what in mail.mended or [""])


def test_text_is_bounded():
    assert len(parse(b"Subject: x\n\n" + b"word " * 1_000_000).text) == MAX_TEXT


@given(st.binary(max_size=300))
def test_any_bytes_are_a_mail_or_a_typed_error(raw):
    for data in (raw, b"Subject: " + raw, b"Content-Type: " + raw + b"\n\nbody", b"From: " + raw + b"\nDate: " + raw):
        try:
            said = parse(data).text
        except PayloadError as error:
            said = error.message
        assert isinstance(said, str)


markup = st.lists(
    st.sampled_from(["Content-Type: ", "multipart/alternative; ", "boundary=b", 'charset="', "\n", "\n\n", "--b", "--"])
    | st.sampled_from(
        ["=?utf-8?B?", "?=", "text/html", "<p>", "Content-Disposition: attachment; filename*0*=", "x", "\0"]
    )
    | st.sampled_from(["Content-Transfer-Encoding: base64\n", "Subject: ", "From: <@,;:[", "(", "é", "message/rfc822"]),
    max_size=25,
).map("".join)


@given(markup)
def test_any_arrangement_of_mail_s_own_marks_is_a_mail_or_a_typed_error(text):
    try:
        said = parse(b"From: a@example.com\n" + text.encode()).text
    except PayloadError as error:
        said = error.message
    assert isinstance(said, str)
