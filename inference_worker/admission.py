"""Pure: who gets a free slot, and what each running sequence does in the next step.

Slots go by tier, then by deadline, then by arrival. A fifth of them is kept for the urgent tier; realtime may take half
of that. In a step everyone who decodes gets a token; prompts share a budget of tokens, the first in order first, so
that a long prompt never holds back the others' tokens for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_worker.runners.base import Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inference_worker.sequence import Sequence as Request

RESERVED = 0.2
"""Share of the slots that is kept for the urgent tier."""


def reserve(slots: int, rank: int) -> int:
    """Return how many of the slots a tier (its rank, 0 is urgent) must leave free."""
    kept = round(slots * RESERVED)
    return (0, kept - kept // 2)[rank] if rank < 2 else kept


def admit(waiting: Iterable[Request], free: int, slots: int) -> list[Request]:
    """Return who gets a slot now.

    Args:
        waiting: in order of arrival.
        free: how many slots are free.
        slots: how many there are in all.
    """
    admitted: list[Request] = []
    for request in sorted(waiting, key=_order):
        if free <= reserve(slots, request.rank):
            break
        admitted.append(request)
        free -= 1
    return admitted


def plan(running: Sequence[Request], budget: int, *, fixed: bool = False) -> list[Work]:
    """Return the works of the next step.

    Args:
        running: those that have a slot, none of them ended.
        budget: how many tokens of prompts a step takes.
        fixed: deterministic mode: what a sequence does depends on itself alone. One prompt advances a step, in chunks
            of the whole budget, and a replayed answer goes token by token, as it was decoded.
    """
    works = []
    for request in sorted(running, key=_order):
        prompt_left = len(request.prompt) - request.cached
        decodes = request.pending == 1
        if decodes or (fixed and prompt_left <= 0):
            works.append(Work(request.slot, request.next_tokens(1), request.cached, scored=decodes))
        elif budget > 0:
            tokens = request.next_tokens(min(budget, prompt_left) if fixed else budget)
            works.append(Work(request.slot, tokens, request.cached, scored=len(tokens) == request.pending))
            budget = 0 if fixed else budget - len(tokens)
    return works


def _order(request: Request) -> tuple[int, int]:
    return request.rank, request.deadline
