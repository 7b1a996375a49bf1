"""Pure: what one sequence does in the next step: decode, or take a chunk of its prompt out of the step's budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_worker.runners.base import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference_worker.scheduled import Scheduled


def work(request: Scheduled, budget: int, *, fixed: bool = False) -> tuple[Work | None, int]:
    """Return what a sequence does, None if the budget is spent; and what is left of the budget.

    Args:
        request: has a place.
        budget: how many tokens of prompts the step still takes. Who decodes needs none of it, so that a long prompt
            never holds back the others' tokens for longer than a step.
        fixed: deterministic mode: what a sequence does depends on itself alone. One prompt advances a step, in chunks
            of the whole budget, and a replayed answer goes token by token, as it was decoded.
    """
    prompt_left = len(request.prompt) - request.cached
    decodes = request.pending == 1
    if decodes or (fixed and prompt_left <= 0):
        return _wanting(request, request.next_tokens(1), scored=decodes), budget
    if not budget:
        return None, budget
    tokens = request.next_tokens(min(budget, prompt_left) if fixed else budget)
    left = 0 if fixed else budget - len(tokens)
    return _wanting(request, tokens, scored=len(tokens) == request.pending), left


def _wanting(request: Scheduled, tokens: Sequence[int], *, scored: bool) -> Work:
    return Work(request.slot, tokens, request.cached, scored and not request.reads, request.reads)
