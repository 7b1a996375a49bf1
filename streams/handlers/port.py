"""The port of a kind: what a handler is given and what it returns.

A third party's package adds a kind by subclassing `Handler` and naming the class in the entry-point group
`barnabas.handlers`. `tests/contracts/handler.py` is the suite that every handler passes.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from backbone.blobs import OwnedBlobs
    from backbone.settings import Settings
    from schemas.tiers import Tier

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
A = TypeVar("A")


class Compute(Protocol):
    """Runs what needs the CPU for more than some milliseconds."""

    async def __call__(self, function: Callable[..., A], *args: Any) -> A:
        """Return `function(*args)`: a module-level function, whose arguments and answer can be pickled.

        In a tier it runs in another process, which is killed when the handler is cancelled or its time is over, and
        has a ceiling of memory; `streams.compute` tells what it raises then. A handler lets that pass.
        """


async def in_a_thread(function: Callable[..., A], *args: Any) -> A:
    """Run it in this process: outside a tier nobody has set up others."""
    return await asyncio.to_thread(function, *args)


async def _unheard(_done: float, _note: str) -> None:
    """Drop a progress report: nobody listens where a handler is called outside a tier."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler may know beside its payload.

    Attributes:
        task_id: the task's id.
        owner: whose task it is.
        now: the time at which the run began (aware, UTC).
        deadline: when the run will be cancelled (aware, UTC).
        blobs: the owner's blobs, which a payload or result may name by their refs.
        progress: awaitable report of the fraction done (0 to 1) and a note for people.
        compute: runs a function that needs the CPU; nothing else keeps a payload made to hurt from stopping the tier.
        chained: whether the task's chain holds steps after it.
    """

    task_id: str
    owner: str
    now: datetime
    deadline: datetime
    blobs: OwnedBlobs
    progress: Callable[[float, str], Awaitable[None]] = field(default=_unheard)
    compute: Compute = field(default=in_a_thread)
    chained: bool = False


@dataclass(frozen=True, slots=True)
class Next(Generic[P]):
    """Returned instead of a result, by a handler whose work takes longer than it may hold its partition.

    The task ends without a result and names the one that goes on, of the same kind and tier; what its chain holds comes
    after that. There may be as many parts as it takes: all of them have the deadline of the first, which bounds them.

    Attributes:
        payload: of the next part: what is left to do, and what was found so far if the result needs it.
        delay: how long the next part waits before it may begin, not negative; nothing is held meanwhile.
    """

    payload: P
    delay: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Then:
    """A step that a handler asks for.

    Attributes:
        kind: of its task.
        payload: JSON, whose strings may hold `{{ result.path }}`: a look-up in the result of the step before.
        tier: of its task; None means the tier of the task that asks.
    """

    kind: str
    payload: Mapping[str, Any]
    tier: Tier | None = None


@dataclass(frozen=True, slots=True)
class Followed(Generic[R]):
    """Returned instead of a bare result, by a handler that knows what is to be done next.

    The steps come before those that the task's chain holds, and are steps like any other: of the same owner, with the
    times of their tiers, within the end of the chain if it has one. What they are must not depend on chance or memory:
    the handler may run more than once.

    Attributes:
        result: the task's.
        then: what follows, step by step.
    """

    result: R
    then: tuple[Then, ...]


class Handler(ABC, Generic[P, R]):
    """One kind of task. Instances live as long as their process and serve many tasks at once."""

    kind: ClassVar[str]
    """The kind's name, such as `cron.parse`."""
    tier: ClassVar[Tier]
    """The tier a task of this kind gets when it names none."""
    payload: type[P]
    result: type[R]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    async def run(self, payload: P, context: Context) -> R | Next[P] | Followed[R]:
        """Do the work, or a part of it.

        Raises:
            streams.errors.PayloadError: the payload can't be worked with; it will not be tried again.
            streams.errors.TransientError: another try may help; the tier's retry policy decides.
        """

    async def close(self) -> None:
        """Release what `run` opened; called once, as the process drains."""
        return
