from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from backbone.kafka import Producer
from barnabas import (
    Client,
    ClientError,
    EdgeError,
    Event,
    NoStackError,
    SyncClient,
    TaskCancelledError,
    TaskFailedError,
    Tokens,
    WaitTimeoutError,
)
from barnabas.errors import UsageError
from schemas import topics
from schemas.records import DeltaType, FinishReason, Kind, Status, TaskEvent, TokenDelta
from schemas.tiers import Tier
from tests.barnabas.tools import Cable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from backbone.settings import Settings
    from barnabas.answer import Answer
    from barnabas.local.stack import LocalStack
    from barnabas.replies import Receipt

DAILY = {"expression": "@daily"}
LIMIT = 60.0


async def test_a_task_is_durable_then_done(client: Client) -> None:
    receipt = await client.submit("cron.parse", {**DAILY, "count": 2}, tier="realtime")
    assert (receipt.status, receipt.tier, receipt.topic) == ("accepted", Tier.REALTIME, "barnabas.tasks.realtime")
    assert receipt.partition >= 0
    assert receipt.offset >= 0
    assert receipt.created_at < receipt.start_by < receipt.deadline
    assert (await client.state(receipt)).kind == "cron.parse"

    seen: list[Event | Tokens] = []
    result = await client.result(receipt, timeout=LIMIT, watch=seen.append)
    assert len(result.value["fires"]) == 2
    assert isinstance(seen[-1], Event)
    assert seen[-1].status is Status.SUCCEEDED
    # One that has ended is told from its beginning too.
    assert (await client.result(receipt.id, timeout=LIMIT)).value == result.value


async def test_many_results_come_over_one_connection(client: Client) -> None:
    receipts = await asyncio.gather(*(client.submit("cron.parse", DAILY) for _ in range(40)))
    results = await asyncio.gather(*(client.result(receipt, timeout=LIMIT) for receipt in receipts))
    assert [result.task for result in results] == [receipt.id for receipt in receipts]
    assert len(client._channels) == 1


async def test_two_may_wait_for_one_task(client: Client) -> None:
    receipt = await client.submit("cron.parse", DAILY)
    first, second = await asyncio.gather(*(client.result(receipt, timeout=LIMIT) for _ in range(2)))
    assert first == second


async def test_a_bad_payload_names_the_field(client: Client) -> None:
    with pytest.raises((EdgeError, TaskFailedError)) as caught:
        await client.result(await client.submit("cron.parse", {"expression": "* * * * 99"}), timeout=LIMIT)
    assert caught.value.field in {"expression", "payload.expression"}


async def test_an_unknown_kind_is_refused(client: Client) -> None:
    with pytest.raises(EdgeError) as caught:
        await client.submit("cron.pares", DAILY)
    assert (caught.value.code, caught.value.field, caught.value.status) == ("kind.unknown", "kind", 422)


async def test_a_payload_that_is_no_json_is_refused_here(client: Client) -> None:
    with pytest.raises(UsageError, match="payload"):
        await client.submit("cron.parse", {"expression": object()})


async def test_an_unknown_task_is_told_as_such(client: Client) -> None:
    nobody = "0199d3a4-5c1e-7a60-8f43-0242ac120002"
    for asked in (client.state(nobody), client.cancel(nobody), client.result(nobody, timeout=LIMIT)):
        with pytest.raises(EdgeError) as caught:
            await asked
        assert caught.value.code == "task.unknown"


async def test_the_same_idempotency_key_is_the_same_task(client: Client) -> None:
    first, second = [await client.submit("cron.parse", DAILY, idempotency_key="k1") for _ in range(2)]
    assert first == second


async def test_a_task_that_nobody_does_can_be_waited_for_and_cancelled(client: Client) -> None:
    receipt = await client.submit("cron.parse", DAILY, tier=Tier.LOW)
    with pytest.raises(WaitTimeoutError, match="it goes on"):
        await client.result(receipt, timeout=0.2)
    waiting = asyncio.create_task(client.result(receipt, timeout=LIMIT))
    assert (await client.cancel(receipt)).status == "cancelled"
    with pytest.raises(TaskCancelledError) as cancelled:
        await waiting
    assert cancelled.value.task_id == receipt.id
    with pytest.raises(EdgeError) as ended:
        await client.cancel(receipt)
    assert (ended.value.code, ended.value.status) == ("task.ended", 409)


async def test_all_of_ones_own_is_told(client: Client) -> None:
    async with aclosing(client.events()) as events:
        first = asyncio.ensure_future(anext(events))
        async with asyncio.timeout(LIMIT):
            while not first.done():  # what was submitted before the subscription stood is not told
                await client.result(await client.submit("cron.parse", DAILY))
        frame = await first
    assert isinstance(frame, Event)
    assert frame.kind == "cron.parse"


async def test_kinds_and_readiness_are_told(client: Client) -> None:
    kinds = {kind.kind: kind for kind in await client.kinds()}
    assert kinds["cron.parse"].payload_schema["required"] == ["expression"]
    ready = await client.ready()
    assert ready.ready
    assert any("realtime" in service.service for service in ready.services)


async def test_a_schedule_fires_once_and_its_task_is_done(client: Client) -> None:
    schedule = await client.schedule("cron.parse", DAILY, at=datetime.now(UTC) + timedelta(seconds=0.5))
    assert schedule.topic == "barnabas.timers"
    async with asyncio.timeout(LIMIT):
        while not (fires := (await client.schedule_state(schedule)).fires):  # noqa: ASYNC110 - REST alone tells
            await asyncio.sleep(0.05)
    assert fires[0].task_id is not None
    assert (await client.result(fires[0].task_id, timeout=LIMIT)).kind == "cron.parse"


async def test_a_schedule_can_be_removed(client: Client) -> None:
    schedule = await client.schedule("cron.parse", DAILY, every=timedelta(hours=1), id="hourly")
    assert schedule.id == "hourly"
    await client.unschedule("hourly")
    with pytest.raises(EdgeError):
        await client.schedule("cron.parse", DAILY)


async def test_a_wrong_key_is_refused_on_both_protocols(house: LocalStack) -> None:
    async with Client(house.edge_url, "bk_wrong") as client:
        for asked in (client.kinds(), client.result("t", timeout=LIMIT)):
            with pytest.raises(EdgeError) as caught:
                await asked
            assert (caught.value.code, caught.value.status) == ("auth.unauthenticated", 401)


async def test_nobody_there_is_told_with_the_way_out(closed_port: int) -> None:
    async with Client(f"http://127.0.0.1:{closed_port}", "bk") as client:
        for asked in (client.kinds(), client.result("t"), client.ask("hello")):
            with pytest.raises(NoStackError, match="barnabas up"):
                await asked


WORDS = ["Kaf", "ka ", "keeps ", "what ", "it ", "is ", "told", "."]
TEXT = "".join(WORDS)


class Worker:
    """Answers one request as an inference worker does: by what it writes to the log."""

    def __init__(self, producer: Producer, receipt: Receipt) -> None:
        self._producer = producer
        self._receipt = receipt
        self._claim = -1

    async def claim(self) -> None:
        """Take the request; what another said under an earlier claim and was read stays."""
        claim = TokenDelta(task_id=self._receipt.id, type=DeltaType.CLAIM, claim=-1, index=0)
        self._claim = (await self._producer.send(topics.TOKENS, self._receipt.key, claim))[1]

    async def say(self, first: int, after: int) -> None:
        """Say some of the words."""
        for index in range(first, after):
            await self._write(DeltaType.TOKENS, index, token_ids=[index], text=WORDS[index])

    async def end(self) -> None:
        """Say that the answer is over."""
        await self._write(DeltaType.END, len(WORDS), finish_reason=FinishReason.STOP)
        ended = TaskEvent(
            task_id=self._receipt.id,
            key=self._receipt.key,
            kind="llm.chat",
            tier=Tier.URGENT,
            owner="local",
            tenant="local",
            status=Status.SUCCEEDED,
            attempt=1,
            at=1_800_000_000_000,
            worker="test",
            root_id=self._receipt.id,
            result=msgspec.json.encode({"text": TEXT, "finish_reason": "stop"}),
            claim=self._claim,
            tokens=len(WORDS),
        )
        await self._producer.send(topics.RESULTS, self._receipt.key, ended)

    async def _write(self, kind: DeltaType, index: int, **more: Any) -> None:
        delta = TokenDelta(task_id=self._receipt.id, type=kind, claim=self._claim, index=index, **more)
        await self._producer.send(topics.TOKENS, self._receipt.key, delta)


@pytest.fixture
async def producer(settings: Settings, house: LocalStack) -> AsyncIterator[Producer]:
    """A producer, after the edge has heard that somebody serves `llm.chat`."""
    producer = Producer(settings)
    await producer.start()
    chat = Kind(kind="llm.chat", tier=Tier.REALTIME, service="test", payload_schema=b"{}", result_schema=b"{}")
    await producer.send(topics.KINDS, chat.kind, chat)
    async with Client(house.edge_url, house.home.api_key.read_text().strip()) as client, asyncio.timeout(LIMIT):
        while not any(kind.kind == chat.kind for kind in await client.kinds()):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.05)
    yield producer
    await producer.stop()


async def test_an_answer_is_told_as_it_is_said(client: Client, producer: Producer) -> None:
    answer = client.stream("What does Kafka keep?", tier=Tier.URGENT, max_tokens=8)
    with pytest.raises(ClientError, match="receipt"):
        _ = answer.receipt
    said: list[str] = []
    async with asyncio.timeout(LIMIT), accepted(answer, said) as worker_of:
        worker = worker_of(producer)
        await worker.claim()
        await worker.say(0, 3)
        await until(lambda: len("".join(said)) == len("".join(WORDS[:3])))
        with pytest.raises(ClientError, match="result"):
            _ = answer.result
        await worker.say(3, len(WORDS))
        await worker.end()
    assert "".join(said) == TEXT
    assert answer.result.value["finish_reason"] == "stop"
    assert answer.result.tokens == len(WORDS)
    assert answer.receipt.topic == "barnabas.inference.urgent"


async def test_an_answer_goes_on_where_it_was_when_the_connection_breaks(house: LocalStack, producer: Producer) -> None:
    async with (
        asyncio.timeout(LIMIT),
        Cable(house.ports.edge).plugged() as cable,
        Client(cable.url, house.home.api_key.read_text().strip()) as client,
    ):
        answer = client.stream("What does Kafka keep?", tier=Tier.URGENT)
        said: list[str] = []
        async with accepted(answer, said) as worker_of:
            worker = worker_of(producer)
            await worker.claim()
            for first in range(0, len(WORDS), 2):
                await worker.say(first, first + 2)
                await until(lambda: "".join(said) == "".join(WORDS[: first + 2]))  # noqa: B023 - waited for at once
                cable.cut()
            await worker.end()
    assert "".join(said) == TEXT
    assert cable.made > 2


@pytest.mark.parametrize("sent", [False, True])
async def test_a_subscription_that_a_broken_connection_swallowed_is_asked_for_again(
    house: LocalStack, sent: bool
) -> None:
    async with (
        asyncio.timeout(LIMIT),
        Cable(house.ports.edge).plugged() as cable,
        Client(cable.url, house.home.api_key.read_text().strip()) as client,
    ):
        receipt = await client.submit("cron.parse", DAILY)
        before = await client.submit("cron.parse", DAILY)
        await client.result(before)  # so that a connection is there
        (channel,) = client._channels._made
        if not sent:
            cable.cut()  # and the channel has not noticed
        waiting = asyncio.create_task(client.result(receipt))
        while sent and not channel._asked:  # noqa: ASYNC110 - any later, and it might be answered
            await asyncio.sleep(0)
        cable.cut()
        assert (await waiting).kind == "cron.parse"


async def test_a_connection_that_never_comes_back_is_told(house: LocalStack) -> None:
    cable = Cable(house.ports.edge)
    async with asyncio.timeout(LIMIT):
        async with cable.plugged():
            client = Client(cable.url, house.home.api_key.read_text().strip(), patience=0.2)
            receipt = await client.submit("cron.parse", DAILY, tier=Tier.LOW)
            waiting = asyncio.create_task(client.result(receipt))
            await until(lambda: cable.made == 2 and client._channels._made[0].has(receipt.id))
        with pytest.raises(NoStackError):
            await waiting
        await client.close()


async def test_leaving_an_answer_early_leaves_the_connection_usable(client: Client, producer: Producer) -> None:
    answer = client.stream("What does Kafka keep?", tier=Tier.URGENT)
    async with asyncio.timeout(LIMIT), aclosing(answer.frames()) as frames:
        assert await anext(frames) == answer.receipt
        first = asyncio.ensure_future(anext(frames))
        worker = Worker(producer, answer.receipt)
        await worker.claim()
        await worker.say(0, 1)
        await first
    assert not client._channels._made[0].has(answer.receipt.id)
    assert (await client.result(await client.submit("cron.parse", DAILY), timeout=LIMIT)).kind == "cron.parse"


async def test_the_same_question_may_be_followed_twice(client: Client, producer: Producer) -> None:
    first, second = [client.stream("Which?", tier=Tier.URGENT, idempotency_key="which") for _ in range(2)]
    said: tuple[list[str], list[str]] = ([], [])
    async with asyncio.timeout(LIMIT), accepted(first, said[0]) as worker_of, accepted(second, said[1]):
        worker = worker_of(producer)
        await worker.claim()
        await worker.say(0, len(WORDS))
        await worker.end()
    assert ["".join(words) for words in said] == [TEXT, TEXT]
    assert first.receipt == second.receipt


async def test_the_sync_face_does_the_same(house: LocalStack) -> None:
    def work() -> None:
        with SyncClient(house.edge_url, house.home.api_key.read_text().strip()) as client:
            receipt = client.submit("cron.parse", DAILY)
            result = client.result(receipt, timeout=LIMIT)
            assert result.value["expression"] == "@daily"
            assert [frame.task for frame in client.events(receipt)][-1] == receipt.id
            assert client.state(receipt).status == "succeeded"
            assert {kind.kind for kind in client.kinds()} >= {"cron.parse"}
            assert client.ready().ready
            schedule = client.schedule("cron.parse", DAILY, every=timedelta(hours=1))
            assert client.schedule_state(schedule).id == schedule.id
            client.unschedule(schedule)
            waits = client.submit("cron.parse", DAILY, tier="low")
            assert client.cancel(waits).status == "cancelled"
            with pytest.raises(TaskCancelledError):
                client.result(waits, timeout=LIMIT)

    await asyncio.to_thread(work)


async def test_the_sync_face_streams(house: LocalStack, producer: Producer) -> None:
    loop = asyncio.get_running_loop()

    def work() -> str:
        with SyncClient(house.edge_url, house.home.api_key.read_text().strip()) as client:
            answer = client.stream("What does Kafka keep?", tier="urgent", idempotency_key="sync")
            asked = client.submit(
                "llm.chat",
                {"messages": [{"role": "user", "content": "What does Kafka keep?"}]},
                tier="urgent",
                idempotency_key="sync",
            )
            asyncio.run_coroutine_threadsafe(whole(Worker(producer, asked)), loop).result()
            text = "".join(answer)
            assert answer.receipt.id == asked.id
            assert answer.result.value["text"] == text
            return text

    async def whole(worker: Worker) -> None:
        await worker.claim()
        await worker.say(0, len(WORDS))
        await worker.end()

    assert await asyncio.to_thread(work) == TEXT


@asynccontextmanager
async def accepted(answer: Answer, said: list[str]) -> AsyncIterator[Callable[[Producer], Worker]]:
    """Listen to an answer beside the block, which begins once it is accepted and ends with its last word."""

    async def listen() -> None:
        async for text in answer:
            said.append(text)  # noqa: PERF401 - others look at it meanwhile

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        await until(lambda: answer.accepted)
        yield lambda producer: Worker(producer, answer.receipt)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so; the test's own limit bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for is another's attribute
        await asyncio.sleep(0.01)
