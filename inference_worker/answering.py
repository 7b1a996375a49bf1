"""The life of one request, from the stamped task to the records that follow from it.

    has it an outcome already?        -> produce that again, run nothing
    expired, or no request at all?    -> its end
    claim it, and read from the log what was accepted before the claim
    run what is left; every token goes to the log as it comes
    the end of the tokens             -> then the outcome, settled once -> then the records that follow from it

Nothing in memory is needed to go on: whoever answers the same task again, here or elsewhere, finds it in the log.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from backbone import outcome
from backbone.errors import BlobChangedError, BlobMissingError, BlobTooLargeError, StoreUnavailableError
from backbone.offload import offloaded, payload_of
from inference_worker.endings import Endings
from inference_worker.errors import InferenceError, ModelChangedError, StepFailedError, SupersededError
from inference_worker.pace import pause
from inference_worker.requests import ReadRequest, parse
from inference_worker.speech import WHOLE, Speech, seed_of
from schemas.records import DeltaType, FinishReason, Status, TokenDelta
from schemas.topics import RESULTS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.blobs import Blobs
    from backbone.kafka import Producer
    from backbone.outcome import Outcome, Outgoing
    from backbone.outcomes import OutcomeStore
    from backbone.settings import Settings
    from inference_worker.preparing import Prepared
    from inference_worker.reading import Reading
    from inference_worker.requests import Request
    from inference_worker.scheduled import Output
    from inference_worker.serving import Run, Serving
    from inference_worker.tail import Tail
    from inference_worker.token_log import Accepted
    from schemas.errors import Problem
    from schemas.records import Task

_log = structlog.get_logger()
RETRY_SECONDS = 0.5
"""Pause between tries while Redis or Kafka is away."""
_TRIALS = 3


@dataclass(slots=True)
class Answering:
    """Answers requests, many at once.

    Attributes:
        settings: of the process.
        serving: what answers.
        producer: durable when it returns.
        store: decides which outcome is the one.
        tail: reads the token log.
        blobs: payloads that are too large for a record.
        worker: name of this process, for events.
        now: the time in ms since the epoch.
        jitter: uniform in [0, 1).
    """

    settings: Settings
    serving: Serving[Any]
    producer: Producer
    store: OutcomeStore
    tail: Tail
    blobs: Blobs
    worker: str
    now: Callable[[], int]
    jitter: Callable[[], float]
    _running: dict[str, Callable[[], None] | None] = field(default_factory=dict)
    _cancelled: set[str] = field(default_factory=set)
    _speaking: int = 0
    _endings: Endings = field(init=False)

    def __post_init__(self) -> None:
        """Get ready to end requests."""
        self._endings = Endings(self.settings, self.worker, self.now, self.jitter)

    async def answer(self, task: Task, partition: int) -> None:
        """Answer a stamped task, unless that has been done, and produce what follows.

        Args:
            task: the request.
            partition: of the token log, that of the task's key.

        Raises:
            StoreUnavailableError, BrokerUnavailableError: try the same again later; the blob store's being away is one.
            SupersededError: another worker claimed it since; if it is still this one's, try it again.
        """
        # From before the look into the store: a cancel that it doesn't see yet is heard.
        self._running[task.id] = None
        try:
            records = await self.store.find(task)
            if records is None:
                made = await self._attempt(task, partition)
                following = await offloaded(made, self.blobs, self.settings.max_payload_bytes)
                records = await self._settled(following)
        finally:
            self._running.pop(task.id, None)  # the same request may be in hand twice
            self._cancelled.discard(task.id)
        await self.producer.send_all(records)
        self.tail.forget(partition, task.id)

    def cancel(self, task_id: str) -> None:
        """Interrupt a request if it is in hand; its outcome is in the store already."""
        if task_id in self._running:
            self._cancelled.add(task_id)
            if interrupt := self._running[task_id]:
                interrupt()

    async def _settled(self, following: Outcome) -> tuple[Outgoing, ...]:
        """Settle an outcome, however long Redis is away: what was said need not be claimed and read again for it."""
        while True:
            try:
                _, records = await self.store.settle(following)
            except StoreUnavailableError as error:
                _log.warning("answer.unsettled", slot=following.slot, reason=error.code)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return records

    async def _attempt(self, task: Task, partition: int) -> Outcome:
        late = outcome.expiry(task, self.now())
        if late and (outcome.expiry(task, self.now(), begun=True) or not await self._begun(task, partition)):
            return self._endings.ended(task, Status.EXPIRED, error=late)
        try:
            request = parse(task.kind, await payload_of(task, self.blobs))
            if isinstance(request, ReadRequest):
                return await self._read(task, await self.serving.reading(request, task))
            prepared = await self.serving.prepare(request, task.created_at)
        except (InferenceError, BlobMissingError, BlobChangedError, BlobTooLargeError) as error:
            return self._endings.failed(task, error.problem())
        speech, accepted = await self._claim(task, partition, request, prepared)
        if accepted.previous_finish in WHOLE:
            return await self._end(speech, accepted.previous_finish, "")
        if accepted.tokens and accepted.previous != (self.serving.digest, self.serving.format):
            return await self._end(speech, FinishReason.ERROR, "", ModelChangedError().problem())
        return await self._speak(speech)

    async def _read(self, task: Task, reading: Reading[Any]) -> Outcome:
        """Read what a request gives: nothing is said of it, so nothing of it stands in the log."""
        self._running[task.id] = reading.cancel
        if task.id in self._cancelled:
            reading.cancel()

        async def tell() -> None:
            event = outcome.event(task, Status.STARTED, now=self.now(), worker=self.worker)
            await self.producer.send(RESULTS, task.key, event)

        finish = await reading.run(tell)
        late = outcome.expiry(task, self.now(), begun=reading.begun)
        result = await asyncio.to_thread(reading.result) if finish in WHOLE else b""
        return self._endings.of(task, finish, result, late if finish is FinishReason.DEADLINE else None)

    async def _begun(self, task: Task, partition: int) -> bool:
        """Whether some worker had begun to answer in time."""
        await self.tail.catch_up(partition)
        accepted = self.tail.accepted(partition, task.id)
        return accepted is not None and bool(accepted.tokens)

    async def _claim(self, task: Task, partition: int, request: Request, prepared: Prepared) -> tuple[Speech, Accepted]:
        """Claim the request, and wait until the claim comes back through the log with all that was before it."""
        claim = TokenDelta(
            task_id=task.id,
            type=DeltaType.CLAIM,
            claim=-1,
            index=0,
            worker=self.worker,
            seed=seed_of(task, request),
            model=self.serving.id,
            digest=self.serving.digest,
            format=self.serving.format,
        )
        _, offset = await self.producer.send(TOKENS, task.key, claim)
        await self.tail.reach(partition, offset)
        accepted = self.tail.accepted(partition, task.id)
        if accepted is None or accepted.claim != offset:
            raise SupersededError
        return Speech.going_on(task, partition, request, prepared, accepted), accepted

    async def _speak(self, speech: Speech) -> Outcome:
        """Run what is left; a step that fails is tried again from where the answer stands."""
        for trial in range(_TRIALS):
            sequence = self.serving.begin(speech, trial)
            last = await self._hear(speech, sequence)
            speech.counted = last.usage
            if last.finish is FinishReason.DEADLINE:
                late = outcome.expiry(speech.task, self.now(), begun=sequence.start_by is None)
                return await self._end(speech, FinishReason.DEADLINE, "", late)
            if sequence.failure:
                return await self._end(
                    speech, FinishReason.ERROR, "", sequence.failure.problem(), after=sequence.failure.retry_after or 0
                )
            if last.finish and last.finish is not FinishReason.ERROR:
                return await self._end(speech, last.finish, last.tail)
        return await self._end(speech, FinishReason.ERROR, "", StepFailedError().problem())

    async def _hear(self, speech: Speech, sequence: Run) -> Output:
        """Run a sequence, saying what comes; return its last output."""
        task = speech.task
        if task.id in self._cancelled:
            return sequence.end(FinishReason.CANCELLED)
        self._running[task.id] = partial(self.serving.cancel, sequence.id)
        self._speaking += 1
        try:
            async with aclosing(self.serving.run(sequence)) as steps:
                async for outputs in steps:
                    latest = self.tail.accepted(speech.partition, task.id)
                    if latest and latest.claim > speech.claim:
                        raise SupersededError
                    await self._say(speech, outputs)
        finally:
            self._speaking -= 1
        return outputs[-1]

    async def _say(self, speech: Speech, outputs: list[Output]) -> None:
        """Produce what came since the last time: the first token at once, under load some together."""
        task, said = speech.task, []
        if any(output.started for output in outputs):
            event = outcome.event(task, Status.STARTED, now=self.now(), worker=self.worker, claim=speech.claim)
            said.append(self.producer.send(RESULTS, task.key, event))
        if ids := [token for output in outputs for token in output.tokens]:
            text = "".join(output.text for output in outputs)
            logprobs = [each for output in outputs for each in output.logprobs]
            packed = msgspec.json.encode(logprobs) if logprobs else None
            delta = speech.delta(DeltaType.TOKENS, token_ids=ids, text=text, logprobs=packed)
            said.append(self.producer.send(TOKENS, task.key, delta))
            speech.tokens += ids
            speech.text.append(text)
            speech.logprobs += logprobs
        await asyncio.gather(*said)
        if ids and not outputs[-1].finish:
            longest = self.settings.token_interval.total_seconds()
            await asyncio.sleep(pause(self._speaking, longest, asyncio.get_running_loop().time()))

    async def _end(
        self,
        speech: Speech,
        finish: FinishReason,
        tail: str,
        problem: Problem | None = None,
        *,
        after: float = 0,
    ) -> Outcome:
        """End the tokens in the log, and only then return what follows: its event may not overtake them.

        Args:
            speech: what was said.
            finish: why it ends.
            tail: the last of its text.
            problem: what went wrong, if something did.
            after: seconds before which another attempt is of no use.
        """
        task = speech.task
        end = speech.delta(DeltaType.END, text=tail, finish_reason=finish, usage=speech.usage)
        _, offset = await self.producer.send(TOKENS, task.key, end)
        await self.tail.reach(speech.partition, offset)
        latest = self.tail.accepted(speech.partition, task.id)
        if latest is None or latest.claim != speech.claim:
            # Nobody reads this end: the outcome is for whoever claimed the request since.
            raise SupersededError
        how_far = {"claim": speech.claim, "tokens": len(speech.tokens)}
        answer = speech.answer(self.serving, finish, tail).model_dump_json(exclude_none=True) if finish in WHOLE else ""
        return self._endings.of(task, finish, answer.encode(), problem, after=after, **how_far)
