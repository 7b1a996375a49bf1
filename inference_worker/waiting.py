"""Pure: the line of one tier: who of those that wait goes next.

Those that were interrupted go first. Then owners take turns, the least served of them first; among owners that are
about equally served, and within an owner, the earliest deadline goes first. So nobody gets ahead of others by asking
for much, or by asking for it soon.

Service is counted in tokens, as a virtual time (start-time fair queueing, Goyal et al. 1996; for language models the
virtual token counter, Sheng et al. 2024): who comes, or comes back, begins where those are who are being served, so
that being away earns nothing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What may wait in a line."""

    owner: str
    deadline: int
    number: int
    started: bool


W = TypeVar("W", bound=Waiting)

QUANTUM = 256
"""Tokens by which owners may differ and still count as equally served; a place held counts as as many in advance."""


@dataclass(slots=True)
class _Owner(Generic[W]):
    """An owner in a tier.

    Attributes:
        served: tokens computed for them, in the line's virtual time.
        present: how many of their sequences wait or hold a place.
        holding: how many hold a place.
        waiting: those that wait and never ran, the earliest deadline first.
        turn: their entry in the order of owners, while any of these waits.
    """

    served: int
    present: int = 0
    holding: int = 0
    waiting: list[tuple[int, int, W]] = field(default_factory=list)
    turn: tuple[int, int, int, str] | None = None


class Line(Generic[W]):
    """Those of one tier that wait for a place."""

    def __init__(self) -> None:
        self._owners: dict[str, _Owner[W]] = {}
        self._turns: list[tuple[int, int, int, str]] = []
        self._interrupted: list[tuple[int, int, W]] = []
        self._virtual_time = 0
        self._present = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def first(self) -> W | None:
        """Return who goes next, without removing it."""
        if self._interrupted:
            return self._interrupted[0][2]
        return self._owners[self._turns[0][3]].waiting[0][2] if self._turns else None

    def add(self, request: W) -> None:
        """Take a sequence that is new."""
        owner = self._owners.setdefault(request.owner, _Owner(self._virtual_time))
        if not owner.present:
            owner.served = max(owner.served, self._virtual_time)
        owner.present += 1
        self._present += 1
        self._waiting += 1
        insort(owner.waiting, _entry(request))
        self._set_turn(request.owner, owner)

    def took(self, request: W) -> None:
        """Note that a sequence is about to get a place: it waits no longer."""
        self._remove(request)
        owner = self._owners[request.owner]
        owner.holding += 1
        if not request.started:
            self._virtual_time = max(self._virtual_time, owner.served)
        self._set_turn(request.owner, owner)

    def interrupt(self, request: W) -> None:
        """Take back a sequence that lost its place."""
        owner = self._owners[request.owner]
        owner.holding -= 1
        self._waiting += 1
        insort(self._interrupted, _entry(request))
        self._set_turn(request.owner, owner)

    def leave(self, request: W, *, held: bool) -> None:
        """Let go of a sequence that ended, which held a place or waited."""
        owner = self._owners[request.owner]
        if held:
            owner.holding -= 1
        else:
            self._remove(request)
        owner.present -= 1
        self._present -= 1
        if self._present:
            self._set_turn(request.owner, owner)
        else:
            # Nobody is left to be fair to.
            self._owners.clear()
            self._virtual_time = 0

    def charge(self, request: W, tokens: int) -> None:
        """Note that so many tokens were computed for a sequence."""
        owner = self._owners[request.owner]
        owner.served += tokens
        if owner.turn and owner.turn[0] != _level(owner):
            self._set_turn(request.owner, owner)

    def _remove(self, request: W) -> None:
        owner = self._owners[request.owner]
        entries = self._interrupted if request.started else owner.waiting
        del entries[bisect_left(entries, _entry(request))]
        self._waiting -= 1
        self._set_turn(request.owner, owner)

    def _set_turn(self, name: str, owner: _Owner[W]) -> None:
        turn = (_level(owner), *owner.waiting[0][:2], name) if owner.waiting else None
        if turn == owner.turn:
            return
        if owner.turn:
            del self._turns[bisect_left(self._turns, owner.turn)]
        if turn:
            insort(self._turns, turn)
        owner.turn = turn


def _level(owner: _Owner[W]) -> int:
    return owner.served // QUANTUM + owner.holding


def _entry(request: W) -> tuple[int, int, W]:
    return request.deadline, request.number, request
