"""What the edge refuses, and what keeps it from serving."""

from __future__ import annotations

from schemas.errors import BarnabasError


class RequestError(BarnabasError):
    """The request can't be read."""

    code = "request.invalid"


class CursorError(BarnabasError):
    """The cursor was not made here, or is one of another subscription."""

    code = "cursor.invalid"


class PayloadError(BarnabasError):
    """The payload does not fit its kind."""

    code = "payload.invalid"


class PayloadTooLargeError(BarnabasError):
    """The payload is larger than may be."""

    code = "payload.too_large"


class KindUnknownError(BarnabasError):
    """No service has announced this kind."""

    code = "kind.unknown"


class TaskUnknownError(BarnabasError):
    """There is no such task of yours, or it is too long ago."""

    code = "task.unknown"


class TaskEndedError(BarnabasError):
    """The task has ended already."""

    code = "task.ended"


class IdempotencyConflictError(BarnabasError):
    """This idempotency key was used for another request."""

    code = "idempotency.conflict"


class ScheduleUnknownError(BarnabasError):
    """There is no such schedule of yours."""

    code = "schedule.unknown"


class ScheduleTakenError(BarnabasError):
    """A schedule of this id belongs to someone else."""

    code = "schedule.taken"


class LetterUnknownError(BarnabasError):
    """There is no such dead letter of yours, or it is too long ago."""

    code = "letter.unknown"


class LetterDroppedError(BarnabasError):
    """The dead letter was dropped."""

    code = "letter.dropped"


class LetterReplayedError(BarnabasError):
    """The dead letter was replayed before."""

    code = "letter.replayed"


class LetterUnreplayableError(BarnabasError):
    """The dead letter holds nothing that can be done again."""

    code = "letter.unreplayable"


class TooSlowError(BarnabasError):
    """The client reads slower than its answers come: the connection was dropped; subscribe again to go on."""

    code = "session.too_slow"
    retryable = True


class EdgeBusyError(BarnabasError):
    """The edge holds as many large requests as it can: try again, or upload the payload as a blob."""

    code = "edge.busy"
    retryable = True


class DrainingError(BarnabasError):
    """The edge stopped before it was done: make the same request again, with its idempotency key if it has one."""

    code = "edge.draining"
    retryable = True


class ExposedError(BarnabasError):
    """The edge listens on loopback addresses only."""

    code = "edge.exposed"


class PortError(BarnabasError):
    """The edge can't listen there."""

    code = "edge.port"
