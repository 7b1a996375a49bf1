"""Pure: the books of the cache of keys and values: which places are taken, and how many tokens are held for which tier.

The numbers themselves lie in the runner. A sequence counts with all of its tokens that are known, whether they were
computed yet or not. Two parts are set aside: a fifth of the tokens for the urgent tier, of which realtime may borrow
half, and one whole sequence (a place, and the tokens that fill it) for low, so that no flood can starve it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from inference_worker.errors import CacheTooSmallError
from schemas.tiers import Tier

if TYPE_CHECKING:
    from inference_worker.runners.base import Runner
    from inference_worker.scheduled import Scheduled

RESERVED = 0.2
"""Share of what runs at once, and of the tokens held, that is kept for the urgent tier."""
URGENT, LOW = Tier.URGENT.rank, Tier.LOW.rank


def places_for(slots: int) -> int:
    """Return how many places of the cache let so many sequences run, a quarter more be paused, and low have its own."""
    return slots + max(1, slots // 4) + 1


def reserve(size: int, rank: int) -> int:
    """Return how much of a size a tier (its rank, 0 is urgent) must leave to the urgent one."""
    kept = round(size * RESERVED)
    return (0, kept - kept // 2)[rank] if rank < 2 else kept


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an engine may use.

    Attributes:
        slots: sequences that run at once.
        places: sequences that the cache holds, running or paused.
        context: tokens of one of them at most.
        tokens: tokens that all of them together hold at most.
    """

    slots: int
    places: int
    context: int
    tokens: int

    @classmethod
    def of(cls, runner: Runner, slots: int = 0, cache_bytes: int = 0) -> Self:
        """Return the bounds of a runner.

        Args:
            runner: has the places.
            slots: sequences that run at once; at most, and with 0, one fewer than it has places: that one is low's own.
            cache_bytes: the most that the tokens held may take; 0 means what all places together can hold.

        Raises:
            CacheTooSmallError: two sequences of full length do not fit: low's own, and one of all others'.
        """
        tokens = runner.slots * runner.max_context
        if cache_bytes:
            least = min(2, runner.slots) * runner.max_context * runner.bytes_per_token
            if cache_bytes < least:
                raise CacheTooSmallError(
                    f"two sequences of {runner.max_context} tokens take {least} bytes; "
                    "give as much, or set BARNABAS_MAX_CONTEXT lower",
                    field="BARNABAS_INFERENCE_CACHE_BYTES",
                )
            tokens = min(tokens, cache_bytes // runner.bytes_per_token)
        most = max(1, runner.slots - 1)
        return cls(min(slots or most, most), runner.slots, runner.max_context, tokens)


class KvCache:
    """Who holds what. Every sequence has the right to `Bounds.context` tokens in the end, alone if need be."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._free = list(range(bounds.places))
        self._tokens = dict.fromkeys(range(bounds.places), 0)
        # A cache of a single place has none to set aside.
        alone = bounds.places == 1
        self._own_places, self._own_tokens = (0, 0) if alone else (1, bounds.context)
        self._shared_places = bounds.places - self._own_places
        shared = bounds.tokens - self._own_tokens
        self._most = [max(bounds.context, shared - reserve(shared, tier.rank)) for tier in Tier]
        self._books = Books([0] * len(Tier), [0] * len(Tier))

    @property
    def used(self) -> tuple[int, int]:
        """Places and tokens that are held."""
        return sum(self._books.places), sum(self._books.tokens)

    def books(self) -> Books:
        """Return a copy of the books, to try on it what room it would make if somebody left."""
        return Books(list(self._books.places), list(self._books.tokens))

    def held(self, request: Scheduled) -> int:
        """Return how many tokens a sequence that has a place counts with."""
        return self._tokens[request.slot]

    def take(self, request: Scheduled) -> None:
        """Give a sequence a place; the lowest are taken first, so that the runner's batches stay dense."""
        request.slot = heapq.heappop(self._free)
        self._books.places[request.rank] += 1
        self.grow(request, request.known)

    def grow(self, request: Scheduled, tokens: int = 1) -> None:
        """Count more tokens for a sequence that has a place."""
        self._tokens[request.slot] += tokens
        self._books.tokens[request.rank] += tokens

    def give(self, request: Scheduled) -> None:
        """Take a sequence's place back."""
        self._books.leave(request.rank, self._tokens[request.slot])
        self._tokens[request.slot] = 0
        heapq.heappush(self._free, request.slot)
        request.slot = -1

    def lack(self, rank: int, tokens: int, places: int = 0, books: Books | None = None) -> tuple[int, int]:
        """Return how many places and tokens too few there are for a tier to hold so much more; (0, 0) if it fits.

        Args:
            rank: the tier's.
            tokens: that it would hold more.
            places: the same.
            books: as they would be; by default as they are.
        """
        books = books or self._books
        held_places, held_tokens = list(books.places), list(books.tokens)
        held_places[rank] += places
        held_tokens[rank] += tokens
        # What low holds beyond its own counts with the others'.
        held_places[LOW] = max(0, held_places[LOW] - self._own_places)
        held_tokens[LOW] = max(0, held_tokens[LOW] - self._own_tokens)
        if rank == LOW and not held_places[LOW] and not held_tokens[LOW]:
            return 0, 0
        most, most_of_lower = self._most[URGENT], self._most[rank]
        return (
            max(0, sum(held_places) - self._shared_places),
            max(0, sum(held_tokens) - most, sum(held_tokens[URGENT + 1 :]) - most_of_lower),
        )


@dataclass(slots=True)
class Books:
    """Places and tokens held, by the tiers' ranks."""

    places: list[int]
    tokens: list[int]

    def leave(self, rank: int, tokens: int) -> None:
        """Take out a sequence that held so many tokens."""
        self.places[rank] -= 1
        self.tokens[rank] -= tokens

    def stay(self, rank: int, tokens: int) -> None:
        """Put it back."""
        self.places[rank] += 1
        self.tokens[rank] += tokens
