"""The encoder, converted once, and a small corpus that it read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.mail.classifier import Classifier
from streams.mail.model import MailModel
from streams.mail.spam import SpamHead
from streams.mail.training import Corpus, prepared, trained
from tests.streams.mail.letters import samples

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def mail_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose encoder is converted once for all who ask for it."""
    return tmp_path_factory.mktemp("mail-home")


@pytest.fixture(scope="session")
def encoder(mail_home: Path) -> MailModel:
    return MailModel.load(mail_home / "models")


@pytest.fixture(scope="session")
def classifier(encoder: MailModel) -> Classifier:
    """With the head that is shipped."""
    return Classifier(encoder, SpamHead.shipped())


@pytest.fixture(scope="session")
def small(encoder: MailModel) -> Corpus:
    return prepared(samples(160), encoder)


@pytest.fixture(scope="session")
def small_head(small: Corpus) -> SpamHead:
    """What the training part of that corpus makes: its figures are nobody's but the tests'."""
    return trained(small, small.parts()[0])[0]
