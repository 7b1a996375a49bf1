"""Payloads and results that are too large for a record, through the life of a task: the records carry refs."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from obstore.store import MemoryStore

from backbone.blobs import Blobs
from backbone.errors import BlobStoreError
from backbone.ids import new_id
from backbone.rate import Rate
from schemas import codec
from schemas.records import DeadLetter, Status, Step, Task, Timer
from streams.errors import PayloadAwayError
from tests.streams.dispatching import NOW, Worker, dispatcher, records, task

pytestmark = pytest.mark.stack


class Fickle(Blobs):
    """Blobs whose store is away for some calls."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(), most=2**25)
        self.away = 0

    async def get(self, owner, ref):
        self._answer()
        return await super().get(owner, ref)

    async def put(self, owner, data, *, most=None):
        self._answer()
        return await super().put(owner, data, most=most)

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise BlobStoreError


@pytest.fixture
def blobs() -> Fickle:
    return Fickle()


async def by_ref(blobs, *, owner="me", then=(), **payload) -> Task:
    put = await blobs.put(owner, json.dumps(payload).encode())
    return msgspec.structs.replace(task(then=then), owner=owner, payload=b"{}", payload_ref=put.ref)


async def test_a_payload_is_read_from_its_owner_s_blob(redis, blobs):
    async with dispatcher(redis, blobs=blobs) as (dispatch, *_):
        (end,) = records(await dispatch.run(await by_ref(blobs, do="keep")))
        assert end.status is Status.SUCCEEDED
        assert await blobs.get("me", json.loads(end.result)["said"]) == b"kept"


async def test_a_payload_that_is_missing_changed_or_another_s_fails_for_good_with_its_code(redis, blobs):
    async with dispatcher(redis, blobs=blobs) as (dispatch, worker, *_):
        theirs = msgspec.structs.replace(await by_ref(blobs, owner="you"), owner="me")
        letter, end = records(await dispatch.run(theirs))
        assert (end.status, end.error.code, end.error.retryable) == (Status.FAILED, "blob.missing", False)
        assert isinstance(letter, DeadLetter)
        assert letter.task.payload_ref == theirs.payload_ref
        assert worker.runs == []


async def test_while_the_store_is_away_the_task_waits_and_then_runs(redis, blobs):
    async with dispatcher(redis, blobs=blobs) as (dispatch, worker, said, _):
        what = await by_ref(blobs)
        blobs.away = 2
        for _ in range(2):
            with pytest.raises(PayloadAwayError):
                await dispatch.run(what)
        assert (worker.runs, said) == ([], [])
        (end,) = records(await dispatch.run(what))
        assert (end.status, len(worker.runs)) == (Status.SUCCEEDED, 1)


async def test_a_task_that_waits_for_the_store_takes_no_turn_of_its_tier_s_rate(redis, blobs):
    async with dispatcher(redis, blobs=blobs, rate=1, topic_prefix=f"{new_id()}.") as (dispatch, *_):
        what = await by_ref(blobs)
        blobs.away = 3
        for _ in range(3):
            with pytest.raises(PayloadAwayError):
                await dispatch.run(what)
        assert await dispatch.limiter.take("tier:realtime", Rate(1), longest=0) == 0


async def test_a_large_result_is_a_blob_of_the_owner_s(redis, blobs):
    async with dispatcher(redis, blobs=blobs) as (dispatch, *_):
        what = msgspec.structs.replace(task(do="shout", times=4), owner="me")
        first = await dispatch.run(what)
        (end,) = records(first)
        assert (end.status, end.result) == (Status.SUCCEEDED, None)
        assert json.loads(await blobs.get("me", end.result_ref))["said"] == "x" * 2_400_000
        assert len(codec.encode(end)) < 1000
        assert await dispatch.run(what) == first


async def test_a_result_waits_for_the_store_and_is_not_made_again(redis, blobs, monkeypatch):
    monkeypatch.setattr("streams.dispatch.RETRY_SECONDS", 0.01)
    async with dispatcher(redis, blobs=blobs) as (dispatch, worker, *_):
        blobs.away = 3
        (end,) = records(await dispatch.run(task(do="shout")))
        assert (end.result_ref is not None, len(worker.runs)) == (True, 1)


async def test_a_result_that_can_not_be_kept_until_the_deadline_expires(redis, blobs, monkeypatch):
    monkeypatch.setattr("streams.dispatch.RETRY_SECONDS", 0.01)
    async with dispatcher(redis, blobs=blobs) as (dispatch, worker, _, clock):
        blobs.away = 10**9
        what = task(do="shout")
        running = asyncio.create_task(dispatch.run(what))
        await worker.began.wait()
        clock[0] = what.deadline
        (end,) = records(await running)
        assert (end.status, end.error.code) == (Status.EXPIRED, "task.deadline")


async def test_a_look_up_finds_what_it_names_in_a_result_that_is_a_blob(redis, blobs):
    then = [
        Step(kind=Worker.kind, payload=b'{"do": "{{ result.more }}"}'),
        Step(kind=Worker.kind, payload=b'{"do": "{{ result.said }}"}'),
    ]
    async with dispatcher(redis, blobs=blobs) as (dispatch, *_):
        end, step = records(await dispatch.run(task(do="shout", then=then)))
        assert end.result_ref is not None
        assert (step.payload, step.payload_ref) == (b'{"do":null}', None)
        shout = msgspec.structs.replace(step, payload=b'{"do": "shout"}', payload_ref=None, start_by=NOW + 10**6)
        end, last = records(await dispatch.run(shout))
        assert (end.status, last.payload) == (Status.SUCCEEDED, b"{}")
        assert json.loads(await blobs.get(last.owner, last.payload_ref)) == {"do": "x" * 600_000}
        (end,) = records(await dispatch.run(last))
        assert end.status is Status.SUCCEEDED


async def test_the_rest_of_long_work_may_be_large_and_is_a_payload_of_its_own(redis, blobs):
    async with dispatcher(redis, blobs=blobs, max_payload_bytes=1024) as (dispatch, worker, *_):
        what = await by_ref(blobs, do="go on", times=3, delay=5, note="y" * 2000)
        timer, _ = records(await dispatch.run(what))
        assert isinstance(timer, Timer)
        rest = timer.template.task
        assert json.loads(await blobs.get("me", rest.payload_ref))["times"] == 2
        (put, small) = (await blobs.put("me", b'{"do": "go on", "times": 2}'), {"start_by": NOW + 10**6})
        _, last = records(await dispatch.run(msgspec.structs.replace(rest, payload_ref=put.ref, **small)))
        assert (json.loads(last.payload)["times"], last.payload_ref) == (1, None)
        (end,) = records(await dispatch.run(last))
        assert (end.status, len(worker.runs)) == (Status.SUCCEEDED, 3)


async def test_a_retry_and_a_dead_letter_keep_the_ref(redis, blobs):
    async with dispatcher(redis, blobs=blobs) as (dispatch, *_):
        what = await by_ref(blobs, do="fail")
        timer, event = records(await dispatch.run(what))
        again = timer.template.task
        assert (event.status, again.payload_ref, again.payload) == (Status.RETRYING, what.payload_ref, b"{}")
        for _ in range(2):
            rows = records(await dispatch.run(again))
            again = rows[0].template.task if isinstance(rows[0], Timer) else rows[0].task
            assert again.payload_ref == what.payload_ref
        assert isinstance(rows[0], DeadLetter)
