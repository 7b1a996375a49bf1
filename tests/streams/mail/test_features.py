from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.mail.bounds import MAX_TEXT
from streams.mail.features import MAX_WORDS, features, key
from streams.mail.form import FORM, form
from streams.mail.message import Address, Attachment, Html, Mail
from streams.mail.reading import passage
from tests.streams.mail.letters import mail

USED = {
    "content-type", "content-transfer-encoding", "x-priority", "message-id", "reply-to", "organization", "x-mailer",
    "user-agent", "date", "in-reply-to", "references",
}  # fmt: skip
"""Headers that the form looks at: each count that it makes of them has a name in `FORM`."""
READ = {"from", "to", "cc", "subject", "mime-version"}
"""Headers that the parser reads, whose meaning a mail holds by itself."""


def same(one: Mail, other: Mail) -> None:
    assert features(one).words == features(other).words
    np.testing.assert_array_equal(features(one).form, features(other).form)


TEXT = (
    "Dear all,\nthe meeting at http://one.example.com/a is moved. Ask tom@one.example.com or look at one.example.com.\n"
)


@pytest.mark.parametrize(
    "header",
    [
        "Received: from mail.netnoteinc.com by dogma.slashnull.org; Mon, 26 Aug 2002 15:49:52 +0100",
        "X-Spam-Status: Yes, hits=9.1 required=7.0 tests=FROM_AND_TO_SAME",
        "X-Spam-Level: *********",
        "List-Id: Irish Linux Users Group <ilug.linux.ie>",
        "List-Unsubscribe: <mailto:ilug-request@linux.ie>",
        "Precedence: bulk",
        "Return-Path: <exim@example.com>",
        "Delivered-To: zzzz@localhost.netnoteinc.com",
        "Sender: ilug-admin@linux.ie",
        "Errors-To: ilug-admin@linux.ie",
        "X-Mailman-Version: 1.1",
        "X-Beenthere: ilug@linux.ie",
        "X-Originating-IP: [10.0.0.1]",
        "X-Status: RO",
    ],
)
def test_the_way_that_a_mail_took_is_not_seen(header):
    same(mail(text=TEXT), mail(text=TEXT, headers=f"{header}\r\n"))


@given(
    st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True).filter(lambda name: name not in USED | READ),
    st.text("ab @.", max_size=30),
)
def test_no_other_header_is_seen(name, value):
    bare = mail(text=TEXT)
    same(bare, replace(bare, headers=(*bare.headers, (name, value)), list_id="a.b", auto_submitted="auto-generated"))


@pytest.mark.parametrize("header", sorted(USED))
def test_those_that_are_seen_are_counts_that_have_a_name(header):
    values = {
        "content-type": "multipart/mixed", "content-transfer-encoding": "base64", "x-priority": "1",
        "message-id": "<1@example.com>", "reply-to": "x@example.com", "date": "1 Jan 2002 10:00:00 +0000",
    }  # fmt: skip
    bare = replace(mail(text=TEXT), headers=())
    with_it = replace(bare, headers=((header, values.get(header, "something")),))
    program = ("program: something",) if header in {"x-mailer", "user-agent"} else ()
    assert features(with_it).words == features(bare).words + program
    assert [name for name, one, other in zip(FORM, form(bare), form(with_it), strict=True) if one != other]


def test_two_dates_two_hosts_and_two_lists_are_the_same_mail():
    def corpus(host: str, day: str, tag: str) -> Mail:
        text = (
            f"The talk is on {day} at 10:30. See http://{host}/talks/1 or write to tom@{host}; {host} has it all.\n"
            f"_______________________________________________\n{tag} mailing list\nhttp://{host}/listinfo/{tag}\n"
        )
        return mail(
            f"[{tag}] Re: A talk", text, f"Tom <tom@{host}>", f"Date: {day[:3]}, 26 Aug 2002 15:49:52 +0100\r\n"
        )

    one = corpus("lists.ilug.org", "Monday", "ILUG")
    other = corpus("mail.razor.com", "Friday", "razor-users")
    same(one, other)
    assert not {word for word in features(one).words if "ilug" in word or "monday" in word or "mailing" in word}


def test_words_and_pairs_are_seen_once_and_apart_from_the_subject_s():
    words = features(mail("Free money", "Free money, free MONEY now!!")).words
    assert words == (
        "subject: free", "subject: money", "subject: free money",
        "free", "money", "now", "!!", "free money", "money free", "money now", "now !!",
    )  # fmt: skip


def test_amounts_percentages_and_links_are_signs_of_their_kind():
    words = set(features(mail("x", "Save 50% and $1,000.00 or 300 euros at https://a.example.com/b?c=1 today")).words)
    assert {"save %", "% and", "$ or", "or $", "url", "at url", "url today"} <= words
    assert not {word for word in words if any(sign.isdigit() for sign in word) or "example" in word}


def test_quoted_lines_are_the_words_of_somebody_else():
    seen = features(mail("x", "Yes please.\n\nTom Smith wrote:\n> buy these pills\n| cheap\n")).words
    assert {"yes", "please"} <= set(seen)
    assert not {"pills", "buy", "cheap", "smith"} & set(seen)


def test_a_mail_of_nothing_but_quotes_is_read_all_the_same():
    assert "pills" in features(mail("x", "> buy these pills")).words


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("Your score: 5 of 9", "score"),
        ("Software: news", "software"),
        ("Re: Fwd: AW[2]: Lunch", "lunch"),
        ("[list] Lunch", "lunch"),
    ],
)
def test_what_a_client_puts_before_a_subject_is_not_cut_out_of_words(subject, said):
    words = features(mail(subject, "x")).words
    assert f"subject: {said}" in words
    assert not {"subject: re", "subject: fwd", "subject: aw", "subject: list"} & set(words)


def test_of_a_long_text_so_many_words_are_seen():
    letters = "abcdefghij"
    text = " ".join(f"q{a}{b}{c}{d}" for a in letters for b in letters for c in letters for d in letters)
    assert len(features(Mail("", "", None, text)).words) == 2 * MAX_WORDS - 1


def test_an_empty_mail_has_features():
    seen = features(Mail("", "", None, ""))
    assert seen.words == ()
    assert seen.form.shape == (len(FORM),)


TEXTS = st.text(max_size=300) | st.text("aZ1 .,@/:?!$%€>[]()_-\n'\"", max_size=300)


@given(TEXTS, TEXTS, TEXTS)
def test_any_mail_has_counts_from_0_to_1_and_words_of_letters(subject, text, name):
    one = Mail(subject, name, None, text, senders=(Address(name, f"{name}@x.example"),), headers=(("reply-to", name),))
    seen = features(one)
    assert seen.form.dtype == np.float32
    assert ((seen.form >= 0) & (seen.form <= 1)).all()
    assert len(set(seen.words)) == len(seen.words)
    np.testing.assert_array_equal(features(one).form, seen.form)
    assert "http://" not in passage(one)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "piece",
    [
        "1,",
        "1 ",
        "1.",
        "1",
        "a.",
        "a@",
        "a-",
        "wrote: ",
        " ",
        "\n",
        "http://",
        "//1.1.1.1",
        "a1",
        "[",
        "re: ",
        "$1",
        "!",
        "A ",
        "a",
        "_",
    ],
)
def test_no_text_of_one_piece_takes_long(piece):
    """Of quadratic patterns over 20,000 characters each one takes tens of seconds, and there are four readings of each."""
    text = (piece * MAX_TEXT)[:MAX_TEXT]
    subject = text[:2000]
    for _ in range(4):
        assert features(Mail(subject, "", None, text)).form.shape == (len(FORM),)


def test_keys_are_stable():
    assert key("free money") == 11787178685322957894
    assert key("\ud800") == key("?")


BASE = Mail(
    subject="Lunch",
    sender="Lea Roth <lea@acme.example>",
    date=None,
    text="Shall we have lunch on the terrace, or would you rather go out? " * 3,
    senders=(Address("Lea Roth", "lea@acme.example"),),
    to=(Address("", "nadia@example.org"),),
    headers=(
        ("content-type", "text/plain"),
        ("mime-version", "1.0"),
        ("date", "Mon, 1 Jan 2024 10:00:00 +0100 (CET)"),
        ("message-id", "<1@mailer.example>"),
    ),
)


def headers(**more: str) -> Mail:
    return replace(BASE, headers=(*BASE.headers, *((name.replace("_", "-"), value) for name, value in more.items())))


def typed(value: str) -> Mail:
    return replace(BASE, headers=(("content-type", value),))


def html(**shown: object) -> Mail:
    return replace(BASE, html=Html(**shown))


def sender(name: str, address: str) -> Mail:
    return replace(BASE, senders=(Address(name, address),))


def text(more: str) -> Mail:
    return replace(BASE, text=BASE.text + more)


def subject(what: str) -> Mail:
    return replace(BASE, subject=what)


MORE = {
    "a subject in capitals": subject("BUY NOW"),
    "an exclamation mark in the subject": subject("Lunch!"),
    "a question as subject": subject("Lunch?"),
    "a subject that ends in a code": subject("Lunch   qxz9f"),
    "words in capitals": text("BUY NOW"),
    "exclamation marks": text("!!!"),
    "amounts of money": text("$500"),
    "percentages": text("50 %"),
    "mangled words": text("v1agra"),
    "a very short text": replace(BASE, text="Lunch"),
    "a very long text": text("and so on " * 1000),
    "quoted lines": text("\n> Lunch"),
    "only HTML": html(only=True),
    "declared as HTML": typed("text/html"),
    "the same in text and HTML": typed("multipart/alternative"),
    "several parts": typed("multipart/mixed"),
    "no declared type": replace(BASE, headers=()),
    "encoded as a whole": headers(content_transfer_encoding="base64"),
    "pictures": html(images=2),
    "hidden text": html(hidden=99),
    "a form to fill in": html(forms=1),
    "attachments": replace(BASE, attachments=(Attachment("a.pdf", "application/pdf", 9),)),
    "marked as important": headers(x_priority="1 (Highest)"),
    "says how important it is": headers(x_priority="3"),
    "broken form": replace(BASE, mended=("line ends",)),
    "made to deceive": replace(BASE, suspicious=("two senders",)),
    "links": html(links=3),
    "links that say who follows them": html(targets=("http://x.example/?id=7",)),
    "links that write a mail": html(targets=("mailto:x@x.example",)),
    "links to several places": html(targets=("http://x.example/", "http://y.example/")),
    "links to the sender's own domain": html(targets=("http://www.acme.example/",)),
    "no link to the sender's own domain": html(targets=("http://x.example/",)),
    "links to a numbered or disguised host": html(targets=("http://10.1.2.3/",)),
    "a sender without a name": sender("", "lea@acme.example"),
    "an address as the sender's name": sender("lea@acme.example", "lea@acme.example"),
    "a sender in capitals": sender("LEA ROTH", "lea@acme.example"),
    "a sender's name with odd signs": sender("*Lea*", "lea@acme.example"),
    "digits in the sender's address": sender("Lea Roth", "lea99@acme.example"),
    "a sender that can't be pronounced": sender("Lea Roth", "lxqrtz@acme.example"),
    "a sender at a free provider": sender("Lea Roth", "lea@gmail.com"),
    "an identity of the sender's domain": headers(message_id="<1@acme.example>"),
    "the sender's domain in the text": text("Acme"),
    "the sender's name in a link": html(targets=("http://www.roth.example/",)),
    "answers go to the sender's own domain": headers(reply_to="Desk <desk@mail.acme.example>"),
    "answers go to another domain": headers(reply_to="desk@x.example"),
    "an organisation that it names": headers(organization="Acme"),
    "a mail program that it names": headers(user_agent="Mutt"),
    "a date without a weekday": replace(BASE, headers=(("date", "1 Jan 2024 10:00:00 +0000"),)),
    "a date without the name of its zone": replace(BASE, headers=(("date", "Mon, 1 Jan 2024 10:00:00 +0100"),)),
    "a date in no zone": replace(BASE, headers=(("date", "Mon, 1 Jan 2024 10:00:00 GMT"),)),
    "an identity as an old Outlook makes it": replace(BASE, headers=(("message-id", "<01$02$03@mailer.example>"),)),
    "an identity of no domain": replace(BASE, headers=(("message-id", "<1@mailer>"),)),
    "a type without a version of MIME": replace(BASE, headers=(("content-type", "text/plain"),)),
    "no recipient": replace(BASE, to=()),
    "several recipients": replace(BASE, to=(Address("", "a@example.org"), Address("", "b@example.org"))),
    "a recipient with a name": replace(BASE, to=(Address("Nadia", "nadia@example.org"),)),
    "the recipient's address in the text": text("nadia@example.org"),
    "the recipient's address in the subject": subject("nadia, lunch"),
    "sent to its sender": replace(BASE, to=(Address("", "lea@acme.example"),)),
    "called an answer": subject("[list] Re: Lunch"),
    "an answer to a mail that it names": headers(in_reply_to="<1@x.example>"),
}


def test_each_count_has_a_mail_that_raises_it():
    assert tuple(MORE) == FORM
    base = form(BASE)
    for place, (name, raised) in enumerate(MORE.items()):
        assert form(raised)[place] > base[place], name
