"""Pure: what is asked for in a run, drawn from a seed: a mix of all that a task may be, and how each has to end.

The mix is a table of weights; each row has a function that draws one task with the steps that follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from backbone.ids import derived_id
from schemas.records import Misfire, Status, Task, Template, Timer
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

Ends = frozenset[Status]
SUCCEEDS: Ends = frozenset({Status.SUCCEEDED})
FAILS: Ends = frozenset({Status.FAILED})
MAY_BE_CANCELLED: Ends = frozenset({Status.SUCCEEDED, Status.CANCELLED})
MAY_EXPIRE: Ends = frozenset({Status.SUCCEEDED, Status.EXPIRED})

OWNER = "local"
"""Who runs a local stack."""


class What(StrEnum):
    """The rows of the mix."""

    CRON = "cron.parse"
    PASS = "passes"
    WRONG = "bad payload"
    FAIL = "fails for good"
    FLAKE = "fails once"
    TIRE = "fails each time"
    DIE = "kills its worker"
    SLEEP = "waits"
    SPIN = "needs the CPU"
    CHAIN = "chain"
    CUT = "chain that fails"
    LOST = "chain that looks up nothing"
    TWICE = "sent twice"
    CANCEL = "cancelled"
    EXPIRE = "short deadline"
    DIRECT = "straight to its topic"
    GARBAGE = "garbage"
    ONCE = "one-off timer"
    ORDER = "in the order of its key"
    ASK = "asks the model"


MIX: dict[What, int] = {
    What.CRON: 22,
    What.PASS: 12,
    What.WRONG: 4,
    What.FAIL: 3,
    What.FLAKE: 6,
    What.TIRE: 2,
    What.DIE: 1,
    What.SLEEP: 16,
    What.SPIN: 4,
    What.CHAIN: 10,
    What.CUT: 3,
    What.LOST: 2,
    What.TWICE: 8,
    What.CANCEL: 5,
    What.EXPIRE: 3,
    What.DIRECT: 5,
    What.GARBAGE: 1,
    What.ONCE: 4,
    What.ORDER: 8,
}
KEYS = 8
"""How many keys those share that are to run in order; each key has one tier."""
WITH_MODEL: dict[What, int] = {**MIX, What.ASK: 3}
"""The mix where an inference worker takes part."""


@dataclass(frozen=True, slots=True)
class Work:
    """A task, or a step of a chain.

    Attributes:
        ends: how it may end.
        says: what it has to say where it succeeds; None is anything.
    """

    kind: str
    payload: dict[str, Any]
    tier: Tier
    ends: Ends = SUCCEEDS
    says: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One thing to ask for.

    Attributes:
        name: unique in the run, and the same in each run of its seed: it is the idempotency key.
        what: the row of the mix.
        after: seconds from the start of the run.
        work: the task, and the steps that follow it.
        later: seconds after it was accepted at which it is sent again or cancelled, or from when it is asked for to its
            deadline or slot.
        key: its ordering key.
    """

    name: str
    what: What
    after: float
    work: tuple[Work, ...]
    later: float = 0.0
    key: str | None = None


def draw(rng: Random, *, tasks: int, seconds: float, run: str, mix: Mapping[What, int] = MIX) -> list[Ask]:
    """Return what is asked for, in order.

    Args:
        rng: decides; the same seed gives the same.
        tasks: how many, without the steps that follow and the tasks of timers.
        seconds: over which they are spread.
        run: goes before each name.
        mix: the weight of each row.
    """
    whats = rng.choices(list(mix), list(mix.values()), k=tasks)
    moments = sorted(rng.uniform(0, seconds) for _ in range(tasks))
    return [
        Ask(
            name=f"{run}-{n:05}",
            what=what,
            after=after,
            work=(_in_order(rng, n),) if what is What.ORDER else _work(what, rng, f"{run}-{n:05}"),
            later=_later(what, rng),
            key=f"{run}-key-{n % KEYS}" if what is What.ORDER else None,
        )
        for n, (what, after) in enumerate(zip(whats, moments, strict=True))
    ]


def _later(what: What, rng: Random) -> float:
    if what is What.EXPIRE:
        return rng.uniform(0.05, 3)
    return rng.uniform(0, 2 if what is What.CANCEL else 6)


def _work(what: What, rng: Random, name: str) -> tuple[Work, ...]:  # noqa: PLR0911 - one for each row of the mix
    tier = rng.choice(list(Tier))
    match what:
        case What.CRON | What.TWICE | What.DIRECT:
            return (Work("cron.parse", {"expression": f"*/{rng.randint(1, 59)} * * * *", "count": 1}, tier),)
        case What.WRONG:
            return (Work("cron.parse", {"expression": "99 * * * *"}, tier, FAILS),)
        case What.CHAIN:
            return _chain(rng, name)
        case What.ASK:
            model = Work("llm.complete", {"prompt": "{{ result.said }} is", "max_tokens": 8}, tier)
            return (_chain(rng, name)[0], model, Work("chaos.work", {"do": "pass", "say": "{{ result.text }}"}, tier))
        case What.CUT:
            return (*_chain(rng, name)[:-1], _told("fail", tier, FAILS))
        case What.LOST:
            nowhere = Work("chaos.work", {"do": "pass", "say": "{{ result.nowhere }}"}, tier, FAILS)
            return (*_chain(rng, name)[:-1], nowhere)
        case What.CANCEL:
            waits = _told("sleep", tier, MAY_BE_CANCELLED, ms=rng.randint(500, 3000))
            then = _told("pass", rng.choice(list(Tier)), MAY_BE_CANCELLED)
            return (waits, then) if rng.random() < 0.5 else (waits,)
        case What.EXPIRE:
            return (_told("sleep", tier, MAY_EXPIRE, ms=1000),)
        case What.SLEEP:
            return (_told("sleep", tier, ms=rng.randint(500, 4000)),)
        case What.SPIN:
            return (_told("spin", tier, ms=rng.randint(5, 50)),)
        case What.FAIL | What.TIRE | What.DIE | What.FLAKE:
            return (_told(what.name.lower(), tier, SUCCEEDS if what is What.FLAKE else FAILS),)
        case What.PASS | What.ONCE | What.GARBAGE:
            return (_told("pass", tier),)


def _in_order(rng: Random, n: int) -> Work:
    """Return work for a key's own tier; how long it takes has nothing to do with when it was asked for."""
    return _told("sleep", list(Tier)[n % len(Tier)], ms=rng.randint(0, 300))


def _told(do: str, tier: Tier, ends: Ends = SUCCEEDS, *, ms: int = 0) -> Work:
    return Work("chaos.work", {"do": do, "ms": ms}, tier, ends)


def _chain(rng: Random, name: str) -> tuple[Work, ...]:
    """Return two to four steps over the tiers; each hands on what the first one said."""
    first = Work("chaos.work", {"do": "pass", "say": name}, rng.choice(list(Tier)), says=name)
    then = [
        Work("chaos.work", {"do": "pass", "say": "{{ result.said }}"}, rng.choice(list(Tier)), says=name)
        for _ in range(rng.randint(1, 3))
    ]
    return (first, *then)


def draw_timers(rng: Random, *, count: int, every_ms: tuple[int, int], run: str, now: int) -> list[Timer]:
    """Return timers that fire again and again, of each misfire policy in turn.

    Args:
        rng: decides.
        count: how many.
        every_ms: the least and the most time from one slot to the next.
        run: goes before each id.
        now: when they are made, in ms since the epoch.
    """
    policies = list(Misfire)
    made = []
    for n in range(count):
        work = _told("pass", rng.choice(list(Tier)))
        task = Task(kind=work.kind, tier=work.tier, payload=b'{"do":"pass"}')
        # A cron of six fields, seconds first, is one in four.
        often = (
            {"cron": f"*/{max(1, every_ms[1] // 1000)} * * * * *"} if n % 4 == 3 else {"every": rng.randint(*every_ms)}
        )
        made.append(
            Timer(
                id=derived_id(run, "timer", n),
                owner=OWNER,
                tenant=OWNER,
                template=Template(task=task),
                created_at=now,
                misfire=policies[n % len(policies)],
                max_late=rng.choice([None, 20_000]),
                **often,
            )
        )
    return made
