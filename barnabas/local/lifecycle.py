"""The supervisor's decisions, without processes: when to start again, when silence is too long, whom to drain first.

Everything here is pure: values in, values out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from barnabas.local.processes import Process


@dataclass(frozen=True, slots=True)
class Restart:
    """When a process that ended is started again: exponential backoff with jitter.

    Attributes:
        first: seconds before the first start again.
        factor: how much longer each further wait is.
        longest: the longest wait, in seconds.
        well: after this many seconds of good service, earlier failures are forgotten.
        tries: a process that ended this often without ever being ready can't start at all.
    """

    first: float = 0.5
    factor: float = 2.0
    longest: float = 30.0
    well: float = 60.0
    tries: int = 3

    def failures(self, before: int, served: float) -> int:
        """Return how many failures in a row there are, after one more that came after `served` seconds of service."""
        return 1 if served >= self.well else before + 1

    def delay(self, failures: int, jitter: float) -> float:
        """Return the seconds to wait after so many failures in a row.

        Args:
            failures: at least 1.
            jitter: from 0 to 1; the wait is between half and all of the backoff, so that many don't start as one.
        """
        # The exponent is bounded, since the backoff is: a float has no room for 2 ** 5000.
        backoff = min(self.longest, self.first * self.factor ** min(failures - 1, 64))
        return backoff * (0.5 + 0.5 * jitter)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a process that served may give no sign of life before it counts as stuck.

    Attributes:
        every: seconds between two questions.
        silences: questions in a row without a good answer that are too many.
    """

    every: float = 5.0
    silences: int = 6

    def silent(self, before: int, *, alive: bool) -> int:
        """Return how many questions in a row had no good answer, after one more."""
        return 0 if alive else before + 1

    def is_out(self, silent: int) -> bool:
        """Whether so much silence means that the process is stuck."""
        return silent >= self.silences


def drain_waves(processes: Sequence[Process]) -> list[list[Process]]:
    """Return the processes in the order in which they are told to stop; those of one wave stop together."""
    order = attrgetter("drain_order")
    return [list(wave) for _order, wave in groupby(sorted(processes, key=order), key=order)]
