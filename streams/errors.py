"""The errors of tasks: what a handler or a payload may fail with."""

from __future__ import annotations

from backbone.errors import SettingsError, StoreUnavailableError
from backbone.outcome import BUSY
from schemas.errors import BarnabasError


class TaskError(BarnabasError):
    """The task failed."""

    code = "task.failed"


class PayloadError(TaskError):
    """The payload does not fit its kind."""

    code = "payload.invalid"


class UnknownKindError(TaskError):
    """No handler serves this kind."""

    code = "kind.unknown"


class HandlerTimeoutError(TaskError):
    """The handler took longer than it may."""

    code = "handler.timeout"
    retryable = True


class HandlerCpuError(HandlerTimeoutError):
    """The handler's time went to arithmetic, and the same payload would take as long again."""

    code = "handler.cpu"
    retryable = False


class HandlerMemoryError(TaskError):
    """The payload takes more memory than a handler may have."""

    code = "handler.memory"


class HandlerDiedError(TaskError):
    """The process that did the work died; it is tried once more."""

    code = "handler.died"
    retryable = True


class TransientError(TaskError):
    """It failed in a way that may pass."""

    code = "task.transient"
    retryable = True


class ModelUnavailableError(TaskError):
    """The model that this kind needs is not installed."""

    code = "model.unavailable"


class PolicyError(SettingsError):
    """The policy file for mails can't be read, or does not make sense."""

    code = "mail.policy"


class HeadError(TaskError):
    """What was kept of an owner's corrections can't be read."""

    code = "mail.head"


class CorpusError(TaskError):
    """The corpus can't be had."""

    code = "mail.corpus"


class ResultError(TaskError):
    """What the handler returned is no result of its kind."""

    code = "result.invalid"


class ResultTooLargeError(ResultError):
    """The result is larger than may be."""

    code = "result.too_large"


class ResultTooDeepError(ResultError):
    """The result is nested deeper than anybody reads."""

    code = "result.too_deep"


class NextError(ResultError):
    """The next part that the handler asks for does not fit its kind."""

    code = "result.next"


class FollowedError(ResultError):
    """The steps that the handler asks for can't follow its task."""

    code = "result.then"


class PayloadAwayError(StoreUnavailableError):
    """The payload is a blob that can't be read now: the task waits."""

    code = "blob.unavailable"


class RobotsRefusedError(TaskError):
    """The host's robots.txt asks programs not to read this page."""

    code = "web.robots"


class BusyError(TaskError):
    """Others use what it needs: it is tried again later, as often as its deadline allows."""

    code = BUSY
    retryable = True


class PageUnreadableError(TaskError):
    """The page can't be read in the mode that was asked for."""

    code = "web.unreadable"


class RenderedUnavailableError(TaskError):
    """Pages are rendered only where the extra `rendered` and Chromium are installed."""

    code = "web.rendered_unavailable"
