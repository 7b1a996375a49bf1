"""How good the labels are, on mails that nothing was tuned on: the corpus' held-out fifth, and mails labelled by hand."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from streams.errors import CorpusError
from streams.mail.labels import CATEGORIES, URGENCIES
from streams.mail.measures import Confusion, SpamMeasures, confusion, spam_measures
from streams.mail.parse import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from streams.mail.classifier import Classifier, Verdict
    from streams.mail.spam import SpamHead
    from streams.mail.training import Corpus, Indices

_SCRIPTS = {
    "English": ("en",),
    "other languages in Latin script": ("de", "es", "fr", "it", "nl", "pl", "pt", "sv", "tr"),
    "other scripts": ("ar", "hi", "ja", "ko", "ru", "uk", "zh"),
}
"""Groups of languages, by how much the encoder knows of them."""


class Labelled(msgspec.Struct, frozen=True):
    """A row of a table of labels: what a person says that a mail is."""

    file: str
    category: str
    urgency: str
    spam: bool
    language: str


class Group(msgspec.Struct, frozen=True):
    """What was found in one group of languages."""

    name: str
    mails: int
    category: Confusion
    urgency: Confusion
    spam: SpamMeasures


def evaluated(corpus: Corpus, head: SpamHead, part: Indices) -> SpamMeasures:
    """Return what a head is worth on a part of the corpus."""
    scores = np.array([head.score(corpus.features(index), corpus.vectors[index]) for index in part])
    return spam_measures(head.probabilities(scores), corpus.spam[part], head.threshold)


def labelled(folder: Path) -> list[Labelled]:
    """Return the rows of all tables `labels*.tsv` in a folder.

    Raises:
        CorpusError: there is none, or one names a file that is not there or a label that is none.
    """
    lines: list[dict[str, str]] = []
    for table in sorted(folder.glob("labels*.tsv")):
        with table.open(encoding="utf-8", errors="replace", newline="") as file:
            lines += csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    odd = [line.get("file") for line in lines if not _is_row(line, folder)]
    if odd or not lines:
        raise CorpusError(f"{folder}: labels*.tsv with file, category, urgency, spam, language; odd: {odd[:5]}")
    return [
        Labelled(line["file"], line["category"], line["urgency"], line["spam"] == "1", line["language"])
        for line in lines
    ]


def by_language(folder: Path, classifier: Classifier, threshold: float) -> list[Group]:
    """Return how labels that were made by hand compare with what the classifier says, by groups of languages."""
    rows = labelled(folder)
    verdicts = classifier.classify([parse((folder / row.file).read_bytes()) for row in rows])
    pairs = list(zip(rows, verdicts, strict=True))
    groups = [_group("all", pairs, threshold)]
    for name, languages in _SCRIPTS.items():
        own = [(row, verdict) for row, verdict in pairs if row.language in languages]
        if own:
            groups.append(_group(name, own, threshold))
    return groups


def _is_row(line: Mapping[str, str], folder: Path) -> bool:
    return (
        line.get("category") in CATEGORIES
        and line.get("urgency") in URGENCIES
        and line.get("spam") in {"0", "1"}
        and bool(line.get("language"))
        and (folder / (line.get("file") or "")).is_file()
    )


def _group(name: str, pairs: Sequence[tuple[Labelled, Verdict]], threshold: float) -> Group:
    rows, verdicts = zip(*pairs, strict=True)
    said, are = np.array([each.spam for each in verdicts]), np.array([float(row.spam) for row in rows])
    # What is spam has no other category that matters.
    ham = [(row, verdict) for row, verdict in pairs if not row.spam]
    return Group(
        name=name,
        mails=len(rows),
        category=confusion(CATEGORIES, [row.category for row, _ in ham], [verdict.category for _, verdict in ham]),
        urgency=confusion(URGENCIES, [row.urgency for row in rows], [each.urgency for each in verdicts]),
        spam=spam_measures(said, are, threshold),
    )
