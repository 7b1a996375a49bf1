"""What the parts of the client that each are about one thing share: how they ask the edge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

from barnabas.replies import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping
    from typing import Any

    import httpx

R = TypeVar("R", bound=Reply)

AT_ONCE = 200
"""Of a list, how many are asked for at once."""


class Calls(ABC):
    """A part of a client."""

    @abstractmethod
    async def _ask(self, method: str, path: str, reply: type[R], body: Mapping[str, Any] | None = None) -> R:
        """Return what the edge answers."""

    @abstractmethod
    async def _request(
        self,
        method: str,
        path: str,
        content: bytes | AsyncIterable[bytes] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (),
    ) -> httpx.Response:
        """Return the edge's response."""

    @staticmethod
    @abstractmethod
    def _read(response: httpx.Response, reply: type[R]) -> R:
        """Return what a response says."""
