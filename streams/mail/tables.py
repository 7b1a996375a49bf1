"""Measures as Markdown, for people and for the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.mail.evaluation import Group
    from streams.mail.measures import Confusion, SpamMeasures


def of_group(group: Group) -> str:
    """Return what was found in a group of languages."""
    return (
        f"## {group.name} ({group.mails} mails)\n\n"
        f"Category of what is no spam: accuracy {group.category.accuracy:.3f}, macro F1 {group.category.macro_f1:.3f}\n\n"
        f"{of_confusion(group.category)}\n"
        f"Urgency: accuracy {group.urgency.accuracy:.3f}, macro F1 {group.urgency.macro_f1:.3f}\n\n"
        f"{of_confusion(group.urgency)}\n"
        f"Spam: accuracy {group.spam.accuracy:.3f}, ham called spam {group.spam.ham_called_spam:.3f}\n\n"
        f"{of_confusion(group.spam.confusion)}"
    )


def of_spam(measures: SpamMeasures) -> str:
    """Return what a spam head is worth."""
    return (
        f"{measures.mails} mails: accuracy {measures.accuracy:.4f}, ham called spam {measures.ham_called_spam:.4f}, spam"
        f" called ham {measures.spam_called_ham:.4f}, threshold {measures.threshold:.3f}, Brier {measures.brier:.4f},"
        f" calibration error {measures.calibration_error:.4f}\n\n"
        f"{of_confusion(measures.confusion)}\n"
        + _table(
            ("probability from", "mails", "said", "were spam"),
            ((f"{each.above:.1f}", each.mails, f"{each.said:.3f}", f"{each.were:.3f}") for each in measures.bins),
        )
    )


def of_confusion(confusion: Confusion) -> str:
    """Return a matrix: a row for what a mail is, a column for what it was called."""
    rows = ((f"**{label}**", *counts) for label, counts in zip(confusion.labels, confusion.counts, strict=True))
    return _table(("is / called", *confusion.labels), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
