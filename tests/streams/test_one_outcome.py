"""One outcome, whoever races whom and whatever becomes of Redis' answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress

import pytest
from pydantic import SecretStr

from backbone import outcome
from backbone.outcomes import OutcomeStore
from backbone.redis import connect
from backbone.settings import Settings
from schemas.records import Status, TaskEvent, Timer
from tests.streams.dispatching import NOW, dispatcher, records, task
from tests.support import until


def cancelled(what):
    """What the edge settles."""
    return outcome.ended(what, Status.CANCELLED, now=NOW + 1, worker="edge")


def ends(*told):
    return {out.record for records in told for out in records if isinstance(out.record, TaskEvent)}


async def test_of_a_success_and_a_cancel_one_is_the_end_whichever_comes_first(redis):
    won = Counter()
    async with dispatcher(redis) as (dispatch, *_):
        for round_ in range(120):
            what = task()
            over = asyncio.Event()

            async def run(what=what, over=over):
                told = await dispatch.run(what)
                over.set()
                return told

            async def cancel(what=what, over=over, turn=round_ % 12):
                # Now and then it comes first or last for sure, else about as late as the run takes.
                await (over.wait() if turn == 11 else asyncio.sleep(turn * 0.0003))
                _, told = await dispatch.store.settle(cancelled(what))
                dispatch.cancel(what.id)
                return told

            if round_ % 12 == 0:
                await cancel()
            told = await asyncio.gather(run(), cancel())
            (end,) = ends(*told)
            assert await dispatch.run(what) == told[0]
            won[end.status] += 1
    assert set(won) == {Status.SUCCEEDED, Status.CANCELLED}


async def test_a_task_that_is_cancelled_before_it_begins_costs_no_handler_time(redis):
    async with dispatcher(redis) as (dispatch, worker, said, _):
        what = task()
        await dispatch.store.settle(cancelled(what))
        assert await dispatch.run(what) == cancelled(what).records
        assert (worker.runs, said) == ([], [])


@pytest.mark.parametrize("payload", [{"do": "fail"}, {"do": "go on", "times": 2, "delay": 1}])
async def test_a_task_that_waits_in_a_timer_is_cancelled_there(redis, payload):
    async with dispatcher(redis) as (dispatch, worker, *_):
        timer = next(record for record in records(await dispatch.run(task(**payload))) if isinstance(record, Timer))
        later = timer.template.task
        await dispatch.store.settle(cancelled(later))
        assert await dispatch.run(later) == cancelled(later).records
        assert len(worker.runs) == 1


class Between:
    """A wire to Redis that may be cut: before a request arrives, or before its answer does."""

    def __init__(self) -> None:
        self.cut: str | None = None
        self.cuts = 0

    @asynccontextmanager
    async def laid(self, settings):
        url = settings.redis_url.get_secret_value()
        self.host, _, port = url.removeprefix("redis://").partition("/")[0].partition(":")
        self.port = int(port)
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            yield Settings(redis_url=SecretStr(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"))

    async def _serve(self, reader, writer):
        there, out = await asyncio.open_connection(self.host, self.port)
        with suppress(ConnectionError):
            await asyncio.gather(
                self._pump(reader, out, "before the request"), self._pump(there, writer, "before the answer")
            )
        for end in (out, writer):
            end.close()

    async def _pump(self, source, sink, where):
        while data := await source.read(65536):
            if self.cut == where:
                self.cuts += 1
                raise ConnectionError
            sink.write(data)
        sink.close()


@pytest.mark.parametrize("where", ["before the request", "before the answer"])
async def test_a_handler_is_not_run_again_for_an_outcome_that_redis_did_not_take_or_confirm(settings, redis, where):
    wire = Between()
    async with wire.laid(settings) as far:
        client = connect(far)
        async with dispatcher(client) as (dispatch, worker, *_):
            what = task(do="hold")
            running = asyncio.create_task(dispatch.run(what))
            await worker.began.wait()
            wire.cut = where
            worker.released.set()

            async def tried():
                return wire.cuts >= 3

            await until(tried)
            kept = await OutcomeStore(redis, dispatch.settings).find(what)
            assert (kept is not None) == (where == "before the answer")
            wire.cut = None
            told = await running
            assert (records(told)[0].status, worker.runs) == (Status.SUCCEEDED, [what.id])
            assert await OutcomeStore(redis, dispatch.settings).find(what) == told
        await client.aclose()
