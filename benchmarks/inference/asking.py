"""What is asked, the same of everyone: distinct prompts of 62 tokens, and an answer of a fixed length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.tiers import Tier

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from random import Random

_WORDS: Final = """
    river stone music cloud table green winter letter bridge summer forest window market engine paper water light story
    house teacher doctor ocean planet star field road city song color shape circle square number signal machine iron
    gold wood glass bread apple orange flower seed root leaf branch bird horse fish
"""
"""Each is one token of SmolLM2, with a space before it and without."""
PROMPT_TOKENS: Final = 62


class Ask(NamedTuple):
    """A request.

    Attributes:
        prompt: to be continued.
        tokens: of the answer, no more and no fewer.
        tier: where there are tiers.
    """

    prompt: str
    tokens: int
    tier: Tier = Tier.REALTIME


class Heard(NamedTuple):
    """How an answer came.

    Attributes:
        asked: when it was asked for, by `time.perf_counter`.
        first: when its first token came.
        last: when its last token came.
        tokens: how many came.
        engine_ms: how long the engine took to its first token, by its own account.
    """

    asked: float
    first: float
    last: float
    tokens: int
    engine_ms: float | None = None

    @property
    def ttft_ms(self) -> float:
        """Time to first token."""
        return 1000 * (self.first - self.asked)

    @property
    def tpot_ms(self) -> float:
        """Time per output token: between the tokens after the first."""
        return 1000 * (self.last - self.first) / max(1, self.tokens - 1)


class Way(ABC):
    """A way to an answer."""

    name: str

    @abstractmethod
    def serving(self, streams: int) -> AbstractAsyncContextManager[float | None]:
        """Be ready for so many streams, with an answer given already.

        The value is the seconds from the start of its process to its first token, if it is started for this.
        """

    @abstractmethod
    def pss_mb(self) -> float:
        """Return the memory of what runs the model, in MB (10^6 bytes): pages shared with others count in part."""

    @abstractmethod
    async def ask(self, wish: Ask) -> Heard:
        """Ask, and hear the answer to its end.

        Raises:
            RuntimeError: it is not the answer that was asked for.
        """

    def check(self, wish: Ask, *, prompt: int, answer: int) -> None:
        """Make sure that what was measured is what was meant.

        Raises:
            RuntimeError: prompt or answer has another number of tokens.
        """
        if (prompt, answer) != (PROMPT_TOKENS, wish.tokens):
            raise RuntimeError(
                f"{self.name}: {prompt} tokens in and {answer} out, not {PROMPT_TOKENS} and {wish.tokens}"
            )


def prompt(chance: Random) -> str:
    """Return a prompt like no other, so that no cache of prompts is of use."""
    return " ".join(chance.choices(_WORDS.split(), k=PROMPT_TOKENS))
