"""What speaks for categories and urgency, the phrases that do, and the reasons that are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.mail.evidence import _CATEGORY_SIGNS, _URGENCY_SIGNS, MAX_READ, for_categories, for_urgency, signs
from streams.mail.labels import CATEGORIES, URGENCIES
from streams.mail.message import Address, Attachment, Html, Mail
from streams.mail.model import Encoded
from streams.mail.phrases import found, phrases
from streams.mail.reasons import MOST, Reason, nearest_phrases, strongest

BARE = Mail("", "", None, "")


def of(address: str = "", **more: object) -> Mail:
    return replace(BARE, senders=(Address("", address),) if address else (), **more)


SEEN = {
    "a list or a way to unsubscribe": [of(list_id="a.example"), of(has_unsubscribe=True)],
    "a sender of bulk mail": [of("newsletter@shop.example"), of("rundbrief@verein.example")],
    "an automatic sender": [of("no-reply@shop.example"), of("do_not_reply@x.example"), of("a@b.example", auto_submitted="auto-generated")],
    "a support desk's address": [of("support@shop.example"), of("kundenservice@x.example")],
    "a ticket's number": [of(subject="Ticket #4711"), of(text="Ihre Anfrage 20231"), of(subject="Hello [ABC-12345]")],
    "an amount of money": [of(text="it is $ 40"), of(text="1.200,50 €"), of(text="12 500 kr")],
    "a one-time code": [of(text="Your code is 482 913."), of(subject="G-204958 is your code")],
    "a flight, a train or airports": [of(subject="LIS → FRA"), of(text="Flight LH 1172"), of(text="ICE 1234")],
    "a file named like an invoice": [of(attachments=(Attachment("Rechnung-7.pdf", "application/pdf", 1),))],
    "a file named like a ticket": [of(attachments=(Attachment("boarding.pdf", "application/pdf", 1),)), of(attachments=(Attachment("x.pkpass", "a/b", 1),))],
    "an invitation to an appointment": [of(attachments=(Attachment("x.ics", "text/calendar", 1),))],
    "an answer": [of(subject="Re: hello"), of(subject="[list] AW: hello")],
    "a person's address at a free provider": [of("lea@gmail.com"), of("lea@web.de")],
    "several recipients by name": [of(to=(Address("", "a@x.example"),), cc=(Address("", "b@x.example"),))],
    "many links and pictures": [of(html=Html(links=20, images=9))],
    "marked as important by its sender": [of(headers=(("importance", "High"),)), of(headers=(("x-priority", "1"),))],
    "marked as unimportant by its sender": [of(headers=(("priority", "non-urgent"),)), of(headers=(("x-priority", "5"),))],
}  # fmt: skip


@pytest.mark.parametrize("sign", SEEN)
def test_each_sign_is_seen_where_it_is_and_not_in_a_bare_mail(sign):
    assert all(sign in signs(mail) for mail in SEEN[sign])
    assert sign not in signs(BARE)


def test_no_sign_of_the_tables_is_never_seen():
    assert set(_CATEGORY_SIGNS) | set(_URGENCY_SIGNS) == set(SEEN)


def test_an_urgency_that_is_not_high_is_not_marked_as_important():
    assert "marked as important by its sender" not in signs(of(headers=(("priority", "non-urgent"),)))


@pytest.mark.parametrize(
    "mail",
    [
        of("lea@gmail.com", list_id="a.example"),
        of("no-reply@gmail.com"),
        of("lea@gmail.com", auto_submitted="auto-replied"),
    ],
)
def test_a_list_or_a_program_is_no_person(mail):
    assert "a person's address at a free provider" not in signs(mail)


@given(st.text(max_size=300) | st.text("1 23.,'€$-AB#[]", max_size=300), st.text(max_size=60), st.booleans())
def test_evidence_is_of_known_labels_and_is_the_sum_of_its_reasons(text, subject, spam):
    for evidence, labels in (
        (for_categories(of(text=text, subject=subject)), CATEGORIES),
        (for_urgency(of(text=text), is_spam=spam), URGENCIES),
    ):
        assert set(evidence.logits) <= set(labels)
        for label, sum_ in evidence.logits.items():
            assert sum_ == pytest.approx(sum(reason.weight for reason in evidence.reasons[label]))


def test_phrases_are_each_half_as_much_as_the_one_before_and_a_subject_s_come_first():
    evidence = for_categories(of(subject="Flight", text="Your flight and your hotel, boarding soon"))
    (first, *rest) = [
        reason for reason in evidence.reasons["travel"] if reason.phrase in {"flight", "hotel", "boarding"}
    ]
    assert first == Reason("flight", 1.0)
    assert [reason.weight for reason in rest] == [0.5, 0.25, 0.125]
    assert evidence.logits["travel"] < 2 + max(0, *(sum(w.values()) for w in _CATEGORY_SIGNS.values()))


def test_what_stands_far_below_or_is_quoted_is_no_evidence():
    assert "travel" in for_categories(of(text="your flight")).logits
    assert "travel" not in for_categories(of(text="x " * MAX_READ + "your flight")).logits
    assert "travel" not in for_categories(of(text="hello\n> your flight")).logits


def test_spam_is_not_urgent():
    text = of(subject="URGENT", text="urgent: act now")
    spam, ham = for_urgency(text, is_spam=True), for_urgency(text, is_spam=False)
    assert spam.logits["high"] == ham.logits["high"] > 0
    assert spam.logits["low"] - ham.logits.get("low", 0) == 3.0
    assert Reason("spam", 3.0) in spam.reasons["low"]


def test_each_label_has_phrases_in_lower_case():
    assert set(phrases("category")) == set(CATEGORIES)
    assert set(phrases("urgency")) <= set(URGENCIES)
    for kind in ("category", "urgency"):
        for label, some in phrases(kind).items():
            assert [phrase for phrase in some if phrase != phrase.lower() or not phrase.strip("$ ")] == [], label
            assert len(set(some)) == len(some), label


@pytest.mark.parametrize(
    ("text", "phrase", "stands"),
    [
        ("ihre rechnungsnummer", "rechnung", True),
        ("abrechnung", "rechnung", False),
        ("abrechnung, rechnung", "rechnung", True),
        ("dad", "dad$", True),
        ("daddy", "dad$", False),
        ("daddy and dad.", "dad$", True),
        ("请查收发票附件", "发票", True),
        ("ご請求書です", "請求書", True),
        ("", "dad$", False),
    ],
)
def test_a_phrase_stands_where_a_word_begins(text, phrase, stands):
    assert found(text, [phrase]) == ([phrase.removesuffix("$")] if stands else [])


def test_the_strongest_few_are_told_and_no_trifles():
    some = [Reason(str(weight), weight) for weight in (0.05, 3.0, 1.0, -4.0, 2.0, 0.5, 0.2, 0.15)]
    assert [reason.weight for reason in strongest(some)] == [3.0, 2.0, 1.0, 0.5, 0.2]
    assert len(strongest(some)) == MOST
    assert strongest([Reason("b", 1.0), Reason("a", 1.0)]) == (Reason("a", 1.0), Reason("b", 1.0))


def encoded(text: str, weights: list[float]) -> tuple[Encoded, np.ndarray]:
    """A text of words, a token each between two marks, and a direction in which each has that weight."""
    tokens = np.zeros((len(weights) + 2, 384), np.float32)
    tokens[1:-1, 0] = weights
    spans, at = [(0, 0)], 0
    for word in text.split():
        at = text.index(word, at)
        spans.append((at, at + len(word)))
        at += len(word)
    return Encoded(text, tokens.sum(0), tokens, (*spans, (0, 0))), np.eye(384, dtype=np.float32)[0]


def test_the_phrase_that_did_it_is_told_with_what_it_did():
    text = "Dear Nadia, please pay the invoice now, yours Lea"
    (first,) = nearest_phrases(*encoded(text, [-1, -1, -0.5, 2, 0.5, 3, -1, -1, -1]))
    assert (first.phrase, first.weight) == ("pay the invoice", pytest.approx(5.5))


def test_pieces_of_a_word_are_one_word():
    tokens = np.zeros((4, 384), np.float32)
    tokens[1:3, 0] = (1.0, 2.0)
    reasons = nearest_phrases(
        Encoded("refinancing", tokens.sum(0), tokens, ((0, 0), (0, 8), (8, 11), (0, 0))),
        np.eye(384, dtype=np.float32)[0],
    )
    assert reasons == [Reason("refinancing", 3.0)]


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=40))
def test_phrases_stand_in_the_text_apart_and_in_their_order(weights):
    text = " ".join(f"w{place}" for place in range(len(weights)))
    reasons = nearest_phrases(*encoded(text, weights))
    assert len(reasons) <= 3
    words = [word for reason in reasons for word in reason.phrase.split()]
    assert len(set(words)) == len(words)
    assert all(f" {reason.phrase} " in f" {text} " and len(reason.phrase.split()) <= 6 for reason in reasons)
    for reason in reasons:
        assert reason.weight == pytest.approx(sum(weights[int(word[1:])] for word in reason.phrase.split()), abs=1e-4)
    assert [reason.weight for reason in reasons] == sorted((reason.weight for reason in reasons), reverse=True)
    assert bool(reasons) == (max(weights) >= 0.1) or max(weights) < 0.1
