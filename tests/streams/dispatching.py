"""What tests of a task's life share: a handler that does what it is told, and a dispatcher on the real Valkey."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from obstore.store import MemoryStore
from pydantic import BaseModel

from backbone.blobs import Blobs
from backbone.clock import now_ms
from backbone.ids import new_id
from backbone.outcomes import OutcomeStore
from backbone.rate import RateLimiter
from backbone.settings import Settings, TierTable
from backbone.stamp import stamp
from schemas.records import Task
from schemas.tiers import Tier
from streams.compute import ComputePool
from streams.dispatch import Dispatcher
from streams.errors import TransientError
from streams.handlers.port import Followed, Handler, Next, Then

NOW = now_ms() + 3_600_000  # ahead, since what Redis keeps until a deadline goes by its own clock


def deep(levels):
    """Return lists within lists."""
    made = []
    for _ in range(levels - 1):
        made = [made]
    return made


class Work(BaseModel):
    """What the handler below is told to do."""

    do: str = "answer"
    times: int = 1
    delay: float = 0
    note: str = ""


class Answer(BaseModel):
    said: str
    more: Any = None


class Worker(Handler[Work, Answer]):
    """Does what its payload says."""

    kind = "test.work"
    tier = Tier.REALTIME
    payload = Work
    result = Answer

    def __init__(self, settings) -> None:
        super().__init__(settings)
        self.runs: list[str] = []
        self.raises: dict[str, BaseException] = {
            "fail": TransientError("not now"),
            "crash": KeyError("x"),
            "time out by itself": TimeoutError("upstream"),
            "cancel itself": asyncio.CancelledError(),
        }
        self.wrong: tuple[Then, ...] = ()
        self.began = asyncio.Event()
        self.released = asyncio.Event()

    async def run(self, payload, context):
        self.runs.append(context.task_id)
        self.began.set()
        if payload.do in self.raises:
            raise self.raises[payload.do]
        answer = await self._waited(payload, context)
        return answer or self._answered(payload)

    async def _waited(self, payload, context):
        """Do what takes time or other parts; None where only the answer is odd."""
        match payload.do:
            case "wait":
                await asyncio.Event().wait()
            case "hold":
                await self.released.wait()
            case "report":
                await context.progress(0.5, "half")
            case "ignore its end":
                with suppress(asyncio.CancelledError):
                    await self.released.wait()
                await self.released.wait()
            case "keep":
                return Answer(said=(await context.blobs.put(b"kept")).ref)
        return None

    def _answered(self, payload):
        answer = Answer(said="done")
        match payload.do:
            case "shout":
                answer = Answer(said="x" * 600_000 * payload.times)
            case "dig":
                answer = Answer(said="deep", more=deep(payload.times))
            case "babble":
                answer = Work()
            case "go on" if payload.times > 1:
                left = payload.model_copy(update={"times": payload.times - 1})
                answer = Next(left, timedelta(seconds=payload.delay))
            case "go on wrongly":
                answer = Next(payload.model_copy(update={"times": "many"}))
            case "ask for more":
                then = tuple(Then(Worker.kind, {"do": "{{ result.said }}"}) for _ in range(payload.times))
                answer = Followed(Answer(said=payload.note), then)
            case "ask wrongly":
                answer = Followed(Answer(said=""), self.wrong)
            case "babble and ask":
                answer = Followed(Work(), ())
        return answer


@asynccontextmanager
async def dispatcher(redis, *, now=NOW, rate=None, store=None, blobs=None, **more):
    tiers = TierTable(realtime=TierTable().realtime.model_copy(update={"rate": rate}))
    settings = Settings(tiers=tiers, **more)
    worker = Worker(settings)
    said = []

    async def say(record):
        said.append(record.record)

    clock = [now]
    pool = ComputePool(settings.tiers.realtime.cpu_workers, settings.tiers.realtime.memory_mb)
    made = Dispatcher(
        settings=settings,
        policy=settings.tiers.realtime,
        handlers={worker.kind: worker},
        store=store or OutcomeStore(redis, settings),
        limiter=RateLimiter(redis, settings),
        compute=pool,
        blobs=blobs or Blobs(MemoryStore(), most=settings.max_upload_bytes),
        say=say,
        worker="w",
        now=lambda: clock[0],
        jitter=lambda: 0.5,
    )
    yield made, worker, said, clock
    await pool.close()


def task(kind=Worker.kind, *, then=(), **payload) -> Task:
    bare = Task(kind=kind, payload=json.dumps(payload).encode(), then=list(then))
    return stamp(bare, task_id=new_id(), tier=Tier.REALTIME, policy=Settings().tiers.realtime, now=NOW)


def records(out) -> list:
    return [row.record for row in out]
