from __future__ import annotations

import numpy as np
import pytest

from schemas.errors import BarnabasError
from streams.errors import CorpusError, PayloadError
from streams.mail.evaluation import by_language, evaluated, labelled
from streams.mail.labels import CATEGORIES
from streams.mail.tables import of_group
from tests.streams.mail.letters import BOOKING, CLUB, letter

pytestmark = pytest.mark.slow

HEAD = "file\tcategory\turgency\tspam\tlanguage\n"
ROWS = (
    "club.eml\tpersonal\tnormal\t0\ten\n",
    "booking.eml\ttravel\tnormal\t0\ten\n",
    "bill.eml\tinvoice\tnormal\t0\tde\n",
)
PRIZE = letter(
    "YOU HAVE WON $1,500,000!!!", "Claim your $1,500,000 now, 100% free!!! Click here!!!", "Win <win8823@x.biz>"
)


@pytest.fixture
def folder(tmp_path):
    bill = letter("Rechnung 2024-118", "Bitte überweisen Sie den fälligen Betrag von 119,00 € auf unser Konto.")
    for name, raw in {"club": CLUB, "booking": BOOKING, "bill": bill, "prize": PRIZE}.items():
        (tmp_path / f"{name}.eml").write_bytes(raw.encode())
    return tmp_path


def table(folder, *rows: str, head: str = HEAD, name: str = "labels.tsv"):
    (folder / name).write_text(head + "".join(rows), encoding="utf-8")
    return folder


def test_rows_of_all_tables_are_read_in_their_order(folder):
    table(folder, ROWS[2], name="labels-b.tsv")
    table(folder, *ROWS[:2], name="labels-a.tsv")
    table(folder, "not a table", name="other.tsv")
    rows = labelled(folder)
    assert [(row.file, row.category, row.urgency, row.spam, row.language) for row in rows] == [
        ("club.eml", "personal", "normal", False, "en"),
        ("booking.eml", "travel", "normal", False, "en"),
        ("bill.eml", "invoice", "normal", False, "de"),
    ]


def test_columns_may_stand_in_any_order_and_others_beside_them(folder):
    table(folder, "x\t1\ten\tlow\ttravel\tclub.eml\n", head="note\tspam\tlanguage\turgency\tcategory\tfile\n")
    (row,) = labelled(folder)
    assert (row.file, row.category, row.urgency, row.spam, row.language) == ("club.eml", "travel", "low", True, "en")


@pytest.mark.parametrize(
    ("rows", "head", "named"),
    [
        ((), HEAD, ""),
        (("club.eml\tfamily\tnormal\t0\ten\n",), HEAD, "club.eml"),
        (("club.eml\tpersonal\tsoon\t0\ten\n",), HEAD, "club.eml"),
        (("club.eml\tpersonal\tlow\tyes\ten\n",), HEAD, "club.eml"),
        (("club.eml\tpersonal\tlow\t0\n",), HEAD, "club.eml"),
        (("club.eml\n",), HEAD, "club.eml"),
        (("away.eml\tpersonal\tlow\t0\ten\n",), HEAD, "away.eml"),
        (("\tpersonal\tlow\t0\ten\n",), HEAD, "''"),
        (ROWS, "mail\tcategory\turgency\tspam\tlanguage\n", "None"),
        (ROWS, "", "None"),
    ],
)
def test_a_table_that_makes_no_sense_is_a_typed_error_that_names_the_row(folder, rows, head, named):
    with pytest.raises(CorpusError, match=f"category, urgency.*odd: .*{named}"):
        labelled(table(folder, *rows, head=head))


def test_no_table_and_no_text_are_typed_errors(folder):
    with pytest.raises(CorpusError):
        labelled(folder)
    (folder / "labels.tsv").write_bytes(HEAD.encode() + b"\xff\xfe\t\x00\n")
    with pytest.raises(CorpusError):
        labelled(folder)


def test_what_the_classifier_says_is_held_against_the_labels_by_languages(folder, classifier):
    table(folder, *ROWS, "prize.eml\tnewsletter\tlow\t1\ten\n")
    found = {group.name: group for group in by_language(folder, classifier, 0.5)}
    assert {name: group.mails for name, group in found.items()} == {
        "all": 4, "English": 3, "other languages in Latin script": 1,
    }  # fmt: skip
    everything = found["all"]
    travel, invoice = CATEGORIES.index("travel"), CATEGORIES.index("invoice")
    # What is spam is not counted among the categories.
    assert sum(map(sum, everything.category.counts)) == 3
    assert everything.category.counts[travel][travel] == everything.category.counts[invoice][invoice] == 1
    assert sum(map(sum, everything.urgency.counts)) == everything.spam.mails == 4
    assert everything.spam.confusion.counts[1] == (0, 1)
    assert found["other languages in Latin script"].category.accuracy == 1.0
    assert "## English (3 mails)" in of_group(found["English"])


def test_a_threshold_is_what_spam_is_called_by(folder, classifier):
    table(folder, *ROWS)
    (none, *_), (everything, *_) = (by_language(folder, classifier, threshold) for threshold in (1.1, 0.0))
    assert none.spam.ham_called_spam == 0.0
    assert everything.spam.ham_called_spam == 1.0


def test_a_group_of_nothing_but_spam_has_no_categories(folder, classifier):
    (group, _) = by_language(table(folder, "prize.eml\tnewsletter\tlow\t1\ten\n"), classifier, 0.5)
    assert (group.category.accuracy, group.spam.mails) == (0.0, 1)


def test_a_file_that_is_no_mail_is_a_typed_error(folder, classifier):
    (folder / "club.eml").write_text("just a sentence")
    with pytest.raises(PayloadError) as refused:
        by_language(table(folder, ROWS[0]), classifier, 0.5)
    assert isinstance(refused.value, BarnabasError)


def test_a_head_is_judged_on_the_part_that_is_named(small, small_head):
    part, out = small.parts()
    found = evaluated(small, small_head, out)
    scores = np.array([small_head.score(small.features(index), small.vectors[index]) for index in out])
    called = small_head.probabilities(scores) >= small_head.threshold
    assert (found.mails, found.threshold) == (len(out), pytest.approx(small_head.threshold, abs=1e-4))
    assert found.accuracy == pytest.approx(np.mean(called == (small.spam[out] == 1)), abs=1e-4)
    assert evaluated(small, small_head, part).mails == len(part)
