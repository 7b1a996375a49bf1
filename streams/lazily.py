"""What a handler opens when it is first wanted, off the event loop, which loading libraries and models would hold up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Lazily(Generic[T]):
    """Something that may have been made; of one event loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._making = asyncio.Lock()
        self.made: T | None = None

    async def get(self) -> T:
        """Return it, once it is made; what making it raises is raised here, and the next one to ask tries again."""
        async with self._making:
            if self.made is None:
                self.made = await asyncio.to_thread(self._make)
            return self.made
