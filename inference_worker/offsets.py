"""Pure: what may be committed of a partition. Requests end in any order; all before the first that has not, may be."""

from __future__ import annotations


class Offsets:
    """The requests of one partition that are in hand.

    Offsets come in rising order, with holes where the log has them.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}
        self._next: int | None = None

    def __len__(self) -> int:
        """How many are between the first that has not ended and the last that was taken: the look-ahead."""
        return len(self._open) and self._last - next(iter(self._open)) + 1

    @property
    def _last(self) -> int:
        return (self._next or 0) - 1

    @property
    def committable(self) -> int | None:
        """The offset that a reader who takes over begins at; None as long as nothing was taken."""
        return next(iter(self._open), self._next)

    def take(self, offset: int) -> bool:
        """Note that a request was taken; False if it had been already, which a reader that went back does."""
        if self._next is not None and offset < self._next:
            return False
        self._open[offset] = None
        self._next = offset + 1
        return True

    def done(self, offset: int) -> None:
        """Note that a request ended, or turned out to be nothing to run."""
        self._open.pop(offset, None)
