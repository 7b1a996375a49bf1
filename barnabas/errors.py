"""The errors of the front door: the local stack, and what the CLI and the client meet.

LocalStackError …              a stack on this machine
ClientError
├── NoStackError               nothing answers
├── CredentialsError           no API key to send
├── UnknownKindError           nobody serves that kind
├── EdgeError                  the edge refused; carries the code that it named
├── ConnectionLostError        the connection broke and did not come back
├── WaitTimeoutError           the task has not ended in the time given
└── TaskError                  the task ended, but not well; carries the code that its worker named
├── TaskFailedError
├── TaskExpiredError
└── TaskCancelledError
UsageError                     what was typed makes no sense
"""

from __future__ import annotations

from schemas.errors import BarnabasError, Problem


class LocalStackError(BarnabasError):
    """The local stack can't do that."""

    code = "local.failed"


class PortTakenError(LocalStackError):
    """A port that the local stack needs is taken."""

    code = "local.port_taken"


class HomeError(LocalStackError):
    """The home folder can't be used."""

    code = "local.home"


class HomeInUseError(HomeError):
    """A running stack owns this home folder: stop it with `barnabas down`."""

    code = "local.home_in_use"


class NotRunningError(LocalStackError):
    """No stack runs in this home folder."""

    code = "local.not_running"


class StopTimeoutError(LocalStackError):
    """The stack did not stop in time."""

    code = "local.stop_timeout"
    retryable = True


class DownloadError(LocalStackError):
    """A download failed; what has arrived is kept, so start again to go on."""

    code = "local.download_failed"
    retryable = True


class JarMismatchError(LocalStackError):
    """A jar is not the one that this release was made with."""

    code = "local.jar_mismatch"


class ServiceFailedError(LocalStackError):
    """A process of the local stack could not start."""

    code = "local.service_failed"


class UnreachableError(LocalStackError):
    """A server that runs elsewhere does not answer."""

    code = "local.unreachable"
    retryable = True


class BackupError(LocalStackError):
    """The backup can't be read or written."""

    code = "local.backup"


class ClientError(BarnabasError):
    """The client could not do that."""

    code = "client.failed"


class NoStackError(ClientError):
    """No stack answers: start one with `barnabas up`."""

    code = "client.no_stack"
    retryable = True


class CredentialsError(ClientError):
    """There is no API key to send."""

    code = "client.credentials"


class UnknownKindError(ClientError):
    """Nobody serves that kind of task."""

    code = "kind.unknown"


class ConnectionLostError(ClientError):
    """The connection to the edge broke."""

    code = "client.connection_lost"
    retryable = True


class WaitTimeoutError(ClientError):
    """The task has not ended yet; it goes on."""

    code = "client.timeout"
    retryable = True


class ReportedError(ClientError):
    """Something that another process reported: code, field and whether to try again are as it named them."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, field=problem.field)
        self.code = problem.code
        self.retryable = problem.retryable


class EdgeError(ReportedError):
    """The edge refused.

    Attributes:
        status: HTTP status; None where the refusal came over the WebSocket.
        retry_after: seconds after which another try may help, where the edge said so.
    """

    def __init__(self, problem: Problem, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.status = status
        self.retry_after = retry_after


class GapError(ClientError):
    """Some of the answer is not in the log any more."""

    code = "client.gap"


class TaskError(ReportedError):
    """The task ended, but not well.

    Attributes:
        task_id: the task's id.
    """

    def __init__(self, problem: Problem, *, task_id: str) -> None:
        super().__init__(problem)
        self.task_id = task_id


class TaskFailedError(TaskError):
    """The task failed."""

    code = "task.failed"


class TaskExpiredError(TaskError):
    """The task did not start, or did not end, in its time."""

    code = "task.expired"


class TaskCancelledError(TaskError):
    """The task was cancelled."""

    code = "task.cancelled"


class UsageError(BarnabasError):
    """What was typed makes no sense."""

    code = "cli.usage"
