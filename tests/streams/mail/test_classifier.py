from __future__ import annotations

import tomllib
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streams.mail.bounds import MAX_BYTES, MAX_TEXT
from streams.mail.head import Correction, OwnerHead
from streams.mail.labels import CATEGORIES, URGENCIES
from streams.mail.message import Mail
from streams.mail.parse import parse
from streams.mail.reading import passage
from tests.streams.mail.letters import BOOKING, CLUB, CLUB_AGAIN, mail

if TYPE_CHECKING:
    from streams.mail.classifier import Verdict

pytestmark = pytest.mark.slow

LOTTERY = mail(
    "YOU HAVE WON $1,500,000!!!",
    "URGENT! Claim your $1,500,000 now, 100% free and guaranteed! Send your bank details immediately!!! Click here!!!",
    "Prize Desk <win8823@lucky-draw.example.biz>",
)
MAILS = [parse(raw.encode()) for raw in (CLUB, BOOKING, CLUB_AGAIN)] + [
    LOTTERY,
    mail("Rechnung 2024-118", "Bitte überweisen Sie den fälligen Betrag von 119,00 € auf unser Konto."),
    mail("", ""),
    mail("会議のお知らせ", "明日の会議は10時からです。"),
    mail("a" * 900, "b" * 9000),
]


def told(verdict: Verdict) -> tuple[object, ...]:
    """All of a verdict, in its order, to the last bit."""
    return (
        list(verdict.categories.items()), list(verdict.urgencies.items()), verdict.spam, verdict.is_spam,
        verdict.reasons, verdict.vector.tobytes(),
    )  # fmt: skip


def test_each_mail_has_shares_that_sum_to_1_the_likeliest_first(classifier):
    for verdict in classifier.classify(MAILS):
        for shares, labels in ((verdict.categories, CATEGORIES), (verdict.urgencies, URGENCIES)):
            assert set(shares) == set(labels)
            assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
            assert list(shares.values()) == sorted(shares.values(), reverse=True)
            assert all(0 <= share <= 1 for share in shares.values())
        assert (verdict.category, verdict.urgency) == (next(iter(verdict.categories)), next(iter(verdict.urgencies)))
        assert 0 <= verdict.spam <= 1
        assert np.linalg.norm(verdict.vector) == pytest.approx(1, abs=1e-5)


def test_a_verdict_is_the_same_alone_among_others_and_from_many_threads(classifier):
    alone = [told(classifier.classify([one])[0]) for one in MAILS]
    assert [told(verdict) for verdict in classifier.classify(MAILS)] == alone
    assert [told(verdict) for verdict in classifier.classify(MAILS[::-1])] == alone[::-1]
    with ThreadPoolExecutor(4) as pool:
        many = [told(verdict) for [verdict] in pool.map(lambda one: classifier.classify([one]), MAILS * 3)]
    assert many == alone * 3


def test_no_mails_have_no_verdicts(classifier):
    assert classifier.classify([]) == []


def test_what_is_plain_is_called_so(classifier):
    _, booking, _, lottery, bill, *_ = classifier.classify(MAILS)
    assert (booking.category, booking.is_spam) == ("travel", False)
    assert (bill.category, bill.is_spam) == ("invoice", False)
    assert lottery.is_spam
    assert lottery.spam > 0.9


def test_spam_is_in_no_hurry_however_it_shouts(classifier):
    assert classifier.classify([LOTTERY])[0].urgency == "low"
    calm = mail("Production is down", "The shop fails for every customer, please call me immediately. It is urgent.")
    assert classifier.classify([calm])[0].urgency == "high"


def test_reasons_are_words_of_the_mail_or_what_was_seen_and_name_what_did_it(classifier):
    booking, lottery = classifier.classify([MAILS[1], LOTTERY])
    assert set(booking.reasons) == {"category", "urgency", "spam"}
    phrases = " ".join(reason.phrase.lower() for reason in booking.reasons["category"])
    assert "flight" in phrases
    assert lottery.reasons["spam"]
    assert "spam" in {reason.phrase for reason in lottery.reasons["urgency"]}
    for verdict in (booking, lottery):
        for some in verdict.reasons.values():
            assert len(some) <= 5
            assert [reason.weight for reason in some] == sorted((reason.weight for reason in some), reverse=True)
            assert all(reason.weight > 0 and reason.phrase for reason in some)


def test_without_the_phrase_that_did_it_the_label_is_less_likely(classifier):
    text = "The figures of last week are in the folder. {} All the best, Tom"
    with_it, without = classifier.classify(
        [
            mail("Hello", text.format("Your invoice of 80 € is due tomorrow.")),
            mail("Hello", text.format("The cat sleeps.")),
        ]
    )
    assert with_it.category == "invoice"
    assert any("invoice" in reason.phrase for reason in with_it.reasons["category"])
    assert without.categories["invoice"] < 0.5 * with_it.categories["invoice"]


def test_a_user_s_own_labels_take_the_place_of_the_built_in_ones(classifier):
    labels = {"sport": "a message about rowing, boats and training", "money": "bills, invoices and payments"}
    club, _, _, _, bill, *_ = classifier.classify(MAILS, labels=labels)
    assert set(club.categories) == set(labels)
    assert (club.category, bill.category) == ("sport", "money")
    assert sum(club.categories.values()) == pytest.approx(1, abs=1e-5)
    phrases = " ".join(reason.phrase.lower() for reason in club.reasons["category"])
    assert "row" in phrases or "boats" in phrases
    assert told(classifier.classify([MAILS[0]])[0])[1:4] == told(club)[1:4]


def test_one_own_label_is_all_there_is(classifier):
    assert classifier.classify([MAILS[0]], labels={"all": "any message"})[0].categories == {"all": 1.0}


@pytest.mark.parametrize("wrong", ["security", "travel", "newsletter"])
def test_a_correction_turns_mails_like_it_at_once_and_leaves_others(classifier, wrong):
    before = classifier.classify(MAILS)
    taught = OwnerHead().taught(before[0].vector, Correction(category=wrong, urgency="high", spam=True))
    after = classifier.classify(MAILS, head=taught)
    for place in (0, 2):
        assert (after[place].category, after[place].urgency, after[place].is_spam) == (wrong, "high", True)
        assert all(any(r.phrase == "your corrections" for r in some) for some in after[place].reasons.values())
    assert [told(after[place]) for place in (1, 3, 4)] == [told(before[place]) for place in (1, 3, 4)]


def test_what_is_surely_spam_or_surely_none_is_turned_by_one_correction(classifier):
    for one, spam in ((LOTTERY, False), (MAILS[1], True)):
        before = classifier.classify([one])[0]
        assert before.is_spam is not spam
        taught = OwnerHead().taught(before.vector, Correction(spam=spam))
        assert classifier.classify([one], head=taught)[0].is_spam is spam


UNRELATED = [
    ("Συνάντηση", "Η εβδομαδιαία συνάντηση μεταφέρεται από τη Δευτέρα στην Τρίτη. Στείλτε την αναφορά σας νωρίτερα."),
    ("Γενέθλια", "Το Σάββατο γιορτάζουμε τα γενέθλια του Νίκου στο σπίτι, έλα με τα παιδιά. Η μαμά θα μαγειρέψει."),
    ("बैठक", "सोमवार की साप्ताहिक बैठक अब मंगलवार को दोपहर दो बजे होगी। कृपया अपनी रिपोर्ट उससे पहले भेज दें।"),
    ("निमंत्रण", "कैसे हो दोस्त? शनिवार को घर पर जन्मदिन की पार्टी है, बच्चों को लेकर ज़रूर आना।"),
    ("ประชุม", "พรุ่งนี้มีประชุมเวลาสิบโมง กรุณามาตรงเวลา"),
    ("สุขสันต์วันเกิด", "ขอให้มีความสุขมากๆ นะ เจอกันวันเสาร์"),
    ("😀😀", "🎉🎉🎉"),
]


@pytest.mark.parametrize("subject", [subject for subject, _ in UNRELATED])
def test_a_correction_turns_no_unrelated_mail_of_a_script_that_the_encoder_hardly_knows(classifier, subject):
    mails = {subject: mail(subject, text) for subject, text in UNRELATED}
    again = mail(f"Re: {subject}", dict(UNRELATED)[subject])
    before = classifier.classify(list(mails.values()))
    vector = before[list(mails).index(subject)].vector
    head = OwnerHead().taught(vector, Correction(category="security", urgency="high", spam=True))
    after = dict(zip(mails, classifier.classify(list(mails.values()), head=head), strict=True))
    turned = classifier.classify([again], head=head)[0] if len(subject) > 2 else after[subject]
    assert [(one.category, one.urgency, one.is_spam) for one in (after.pop(subject), turned)] == 2 * [
        ("security", "high", True)
    ]
    assert [told(one) for one in after.values()] == [
        told(one) for name, one in zip(mails, before, strict=True) if name != subject
    ]


def test_a_mail_of_nothing_has_a_verdict(classifier):
    (verdict,) = classifier.classify([Mail("", "", None, "")])
    assert verdict.category in CATEGORIES
    assert verdict.urgency in URGENCIES
    assert 0 < verdict.spam < 1


@pytest.mark.timeout(60)
def test_of_the_largest_mail_no_more_is_read_than_of_a_short_one(classifier):
    line = b"Your invoice of 80 EUR is due tomorrow, please pay 1,1,1,1,1 by transfer to our account.\r\n"
    head = b"From: shop@example.com\r\nSubject: Invoice\r\n\r\n"
    huge = parse(head + line * ((MAX_BYTES - len(head)) // len(line)))
    assert len(huge.text) <= MAX_TEXT
    (verdict,) = classifier.classify([huge])
    assert verdict.category == "invoice"
    assert len(passage(huge)) <= MAX_TEXT + 100
    assert told(verdict) == told(classifier.classify([parse(head + line * 400)])[0])


DEVELOPMENT = tomllib.loads((Path(__file__).parent / "development.toml").read_text("utf-8"))["mail"]


def written(row: dict[str, object]) -> Mail:
    """A mail of the development table, as a client would send it."""
    message = EmailMessage()
    message["From"], message["Subject"] = row["from"], row["subject"]
    message["To"] = ", ".join(row.get("to", ["you@example.com"]))
    message["Date"] = "Tue, 14 Oct 2025 09:30:00 +0000"
    message["Message-ID"] = f"<20251014093000.1@{parseaddr(str(row['from']))[1].partition('@')[2]}>"
    if row.get("list"):
        message["List-Unsubscribe"] = "<https://example.com/unsubscribe>"
    if row.get("auto"):
        message["Auto-Submitted"] = "auto-generated"
    message.set_content(row["text"])
    if name := row.get("attachment"):
        message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename=name)
    return parse(message.as_bytes())


def test_the_mails_that_the_labels_were_developed_with_stay_right(classifier):
    """A floor against regressions: when it was written all categories were right, 85 % of the urgencies, no good mail was
    called spam and three of the five spam mails were. That is no measure of accuracy: descriptions and phrases were made
    with these mails in view, so that they say nothing of mails that nobody has seen."""
    verdicts = classifier.classify([written(row) for row in DEVELOPMENT])
    pairs = list(zip(DEVELOPMENT, verdicts, strict=True))
    ham = [(row, verdict) for row, verdict in pairs if not row.get("spam")]
    spam = [verdict for row, verdict in pairs if row.get("spam")]
    assert (len(pairs), len(ham)) == (47, 42)
    assert np.mean([row["category"] == verdict.category for row, verdict in ham]) >= 0.9
    assert np.mean([row["urgency"] == verdict.urgency for row, verdict in pairs]) >= 0.75
    assert np.mean([verdict.is_spam for _, verdict in ham]) <= 0.03
    assert np.mean([verdict.is_spam for verdict in spam]) >= 0.6
    assert min(verdict.spam for verdict in spam) > np.quantile([verdict.spam for _, verdict in ham], 0.95)
