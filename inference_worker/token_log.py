"""Pure: fold the records of the token log, in log order, into what was accepted for each request.

A claim's offset is its epoch: from there on only what carries it counts. Within a claim the indexes have no holes;
what does not continue exactly where the accepted tokens end is dropped. What remains never changes and never repeats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.records import DeltaType

if TYPE_CHECKING:
    from schemas.records import FinishReason, TokenDelta, Usage


@dataclass(slots=True)
class Accepted:
    """What was accepted for one request.

    Attributes:
        first: offset of the first claim: reading from there sees all of it.
        claim: offset of the latest claim.
        model: digest and format of the model that it names.
        previous: the same of the claim before it, if there was one.
        tokens: ids, from index 0.
        text: what was emitted of their text.
        logprobs: of them, if they were asked for, as the records have them: JSON lists with an entry for each.
        finish: why it ended, if it did under the latest claim.
        previous_finish: why it ended under an earlier claim, if it did.
        usage: how many tokens went in and came out, as its last end says.
    """

    first: int
    claim: int
    model: tuple[str | None, str | None]
    previous: tuple[str | None, str | None] | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    logprobs: list[bytes] = field(default_factory=list)
    finish: FinishReason | None = None
    previous_finish: FinishReason | None = None
    usage: Usage | None = None


class TokenLog:
    """What was accepted for the requests of one partition; ended ones are forgotten, the oldest first."""

    def __init__(self, remembered: int = 256) -> None:
        """Begin empty.

        Args:
            remembered: how many ended requests stay known, for whoever died between an end and its outcome.
        """
        self._remembered = remembered
        self._open: dict[str, Accepted] = {}
        self._ended: dict[str, Accepted] = {}

    def __getitem__(self, task_id: str) -> Accepted | None:
        return self._open.get(task_id) or self._ended.get(task_id)

    def fold(self, offset: int, delta: TokenDelta) -> None:
        """Take the next record of the log."""
        known = self[delta.task_id]
        if delta.type is DeltaType.CLAIM:
            self._claim(offset, delta, known)
        elif known and delta.claim == known.claim and known.finish is None and delta.index == len(known.tokens):
            known.tokens += delta.token_ids
            known.text += delta.text
            if delta.logprobs:
                known.logprobs.append(delta.logprobs)
            if delta.type is DeltaType.END:
                known.finish, known.usage = delta.finish_reason, delta.usage
                self._ended[delta.task_id] = self._open.pop(delta.task_id)
                if len(self._ended) > self._remembered:
                    del self._ended[next(iter(self._ended))]

    def _claim(self, offset: int, delta: TokenDelta, known: Accepted | None) -> None:
        model = (delta.digest, delta.format)
        if known is None:
            self._open[delta.task_id] = Accepted(offset, offset, model)
            return
        self._ended.pop(delta.task_id, None)
        self._open[delta.task_id] = known
        known.claim, known.previous, known.model = offset, known.model, model
        known.finish, known.previous_finish = None, known.finish or known.previous_finish

    def forget(self, task_id: str) -> None:
        """Drop a request that is over for good."""
        self._open.pop(task_id, None)
        self._ended.pop(task_id, None)

    def floor(self) -> int | None:
        """Return the lowest offset from which the open requests can be read; None if none is open."""
        return min((one.first for one in self._open.values()), default=None)
