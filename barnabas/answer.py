"""An answer of the model while it comes: iterate over it for the text, ask it afterwards for the rest."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from barnabas.errors import ClientError, GapError
from barnabas.fold import ended
from barnabas.replies import Event, Gap, Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from barnabas.channel import Subscription
    from barnabas.replies import Receipt, Result

    Open = Callable[[], AbstractAsyncContextManager[Subscription]]


class Answer:
    """Pieces of text in order, each as soon as it was said. The request is sent when iteration begins.

    A connection that breaks in the middle is made anew and the text goes on where it was. Leaving the loop early leaves
    the task running: `Client.cancel` stops it.

    Attributes:
        receipt: where the request lies; known once the first piece came.
        result: how it ended; known once the loop is over.
    """

    def __init__(self, opened: Open) -> None:
        self._opened = opened
        self._receipt: Receipt | None = None
        self._result: Result | None = None

    @property
    def accepted(self) -> bool:
        """Whether the request is durable: it goes on then, whoever listens."""
        return self._receipt is not None

    @property
    def receipt(self) -> Receipt:
        """Where the request lies.

        Raises:
            ClientError: the request was not accepted yet.
        """
        if self._receipt is None:
            raise ClientError("an answer has its receipt once its first piece came")
        return self._receipt

    @property
    def result(self) -> Result:
        """How it ended.

        Raises:
            ClientError: it has not ended yet.
        """
        if self._result is None:
            raise ClientError("an answer has its result once its loop is over")
        return self._result

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield the text piece by piece.

        Raises:
            TaskError: the answer ended, but not well.
            GapError: the log has no more of it than its end.
            ClientError: the edge refused it, or can't be reached.
        """
        async with aclosing(self.frames()) as frames:
            async for frame in frames:
                if isinstance(frame, Gap):
                    raise GapError(f"tokens {frame.index} to {frame.until} of it are gone: ask again")
                if isinstance(frame, Tokens) and frame.text:
                    yield frame.text

    async def frames(self) -> AsyncGenerator[Receipt | Event | Tokens | Gap]:
        """Yield the receipt and all that happens, in place of the text alone; it raises as iteration does."""
        async with self._opened() as sub:
            self._receipt = sub.receipt
            yield self.receipt
            async for frame in sub:
                yield frame
                if isinstance(frame, Event) and frame.last:
                    self._result = ended(frame)
