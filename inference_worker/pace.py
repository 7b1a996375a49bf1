"""Pure: how long the tokens of an answer are gathered before they go to the log as one record.

Each record costs the worker some of the processor that decodes, and everyone who reads it as well. So an answer that is
alone has each token written as it comes, and the more are spoken side by side, the longer each one's are gathered:
the records of a worker in a second stay about as many. All answers are written at the same ticks, so that what they
say goes to Kafka, and from there to everyone who reads, in one request and not in one for each of them.
"""

from __future__ import annotations

from typing import Final

MANY: Final = 16
"""So many answers at once have theirs gathered for as long as it may be."""


def pause(speaking: int, longest: float, now: float) -> float:
    """Return the seconds until the next record of one answer.

    Args:
        speaking: how many answers are spoken, this one among them.
        longest: the most seconds that it may be.
        now: in seconds, by a clock that all answers share.
    """
    between = longest * min(max(speaking - 1, 0) / (MANY - 1), 1.0)
    return between - now % between if between else 0.0
