"""The errors of what carries the work."""

from __future__ import annotations

from schemas.errors import BarnabasError


class SettingsError(BarnabasError):
    """A setting does not make sense."""

    code = "settings.invalid"


class StoreUnavailableError(BarnabasError):
    """Redis can't be reached: nothing was accepted; try again."""

    code = "store.unavailable"
    retryable = True


class BlobStoreError(StoreUnavailableError):
    """The blob store did not answer, or is full: nothing was accepted; try again."""

    code = "blob.unavailable"


class BlobMissingError(BarnabasError):
    """There is no such blob of yours, or it is too long ago."""

    code = "blob.missing"


class BlobChangedError(BarnabasError):
    """The blob's bytes are not those that were put."""

    code = "blob.changed"


class BlobTooLargeError(BarnabasError):
    """The blob is larger than may be."""

    code = "blob.too_large"


class VersionTakenError(BarnabasError):
    """That version was written by somebody else: read the latest and try again."""

    code = "version.taken"
    retryable = True


class BrokerUnavailableError(BarnabasError):
    """Kafka can't be reached: nothing was accepted; try again."""

    code = "broker.unavailable"
    retryable = True


class AddressRefusedError(BarnabasError):
    """That address may not be reached from here."""

    code = "net.refused"


class FetchError(BarnabasError):
    """The address did not answer as it should."""

    code = "net.failed"
    retryable = True


class AnswerRefusedError(FetchError):
    """The address answered with what can't be taken: too long, too many redirects, or of a wrong type."""

    code = "net.answer_refused"
    retryable = False


class RedirectsError(AnswerRefusedError):
    """The address redirects too often."""


class HostRestsError(FetchError):
    """The host asks to be left alone for a while."""

    code = "net.host_rests"


class UnauthenticatedError(BarnabasError):
    """No valid credentials were given."""

    code = "auth.unauthenticated"


class ForbiddenError(BarnabasError):
    """The caller's role does not allow this."""

    code = "auth.forbidden"


class CronError(BarnabasError):
    """This is no cron expression, or no time zone."""

    code = "cron.invalid"


class PhraseError(BarnabasError):
    """This is no schedule in English that is understood here."""

    code = "phrase.invalid"


class TimerError(BarnabasError):
    """The timer means nothing."""

    code = "timer.invalid"


class StepError(BarnabasError):
    """The next step of the chain can't be made."""

    code = "step.invalid"


class LeaseTimeoutError(BarnabasError):
    """What this waited for was another's for too long."""

    code = "lease.timeout"
    retryable = True


class LeaseLostError(BarnabasError):
    """What this held is another's by now."""

    code = "lease.lost"
    retryable = True


class StaleFenceError(BarnabasError):
    """Another has written here since: the write of an earlier holder is refused."""

    code = "lease.stale"
    retryable = True
