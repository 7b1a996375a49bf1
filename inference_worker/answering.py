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
from typing import TYPE_CHECKING

import structlog

from backbone import outcome
from backbone.errors import BlobChangedError, BlobMissingError, BlobTooLargeError
from backbone.offload import offloaded, payload_of
from inference_worker.errors import (
    InferenceError,
    ModelChangedError,
    ModelNotFoundError,
    PromptTooLongError,
    StepFailedError,
    SupersededError,
)
from inference_worker.prompt import turns, written
from inference_worker.requests import Answer, ChatRequest, Tokens, parse
from inference_worker.speech import Speech, seed_of
from schemas.records import DeltaType, FinishReason, Status, TokenDelta, Usage
from schemas.topics import RESULTS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.blobs import Blobs
    from backbone.kafka import Producer
    from backbone.outcome import Outcome
    from backbone.outcomes import OutcomeStore
    from backbone.settings import Settings
    from inference_worker.live_engine import LiveEngine
    from inference_worker.loading import Model
    from inference_worker.requests import Request
    from inference_worker.sequence import Output, Sequence
    from inference_worker.tail import Tail
    from inference_worker.token_log import Accepted
    from schemas.errors import Problem
    from schemas.records import Task

_log = structlog.get_logger()
_TRIALS = 3
_WHOLE = frozenset({FinishReason.STOP, FinishReason.LENGTH})


@dataclass(slots=True)
class Answering:
    """Answers requests, many at once.

    Attributes:
        settings: of the process.
        model: what answers.
        engine: runs it.
        producer: durable when it returns.
        store: decides which outcome is the one.
        tail: reads the token log.
        blobs: payloads that are too large for a record.
        worker: name of this process, for events.
        now: the time in ms since the epoch.
        jitter: uniform in [0, 1).
    """

    settings: Settings
    model: Model
    engine: LiveEngine
    producer: Producer
    store: OutcomeStore
    tail: Tail
    blobs: Blobs
    worker: str
    now: Callable[[], int]
    jitter: Callable[[], float]
    _sequences: dict[str, str | None] = field(default_factory=dict)
    _cancelled: set[str] = field(default_factory=set)

    async def answer(self, task: Task, partition: int) -> None:
        """Answer a stamped task, unless that has been done, and produce what follows.

        Args:
            task: the request.
            partition: of the token log, that of the task's key.

        Raises:
            StoreUnavailableError, BrokerUnavailableError: try the same again later; the blob store's being away is one.
            SupersededError: another worker claimed it since; if it is still this one's, try it again.
        """
        records = await self.store.find(task)
        if records is None:
            self._sequences[task.id] = None
            try:
                made = await self._attempt(task, partition)
                following = await offloaded(made, self.blobs, self.settings.max_payload_bytes)
            finally:
                del self._sequences[task.id]
                self._cancelled.discard(task.id)
            _, records = await self.store.settle(following)
        await self.producer.send_all(records)
        self.tail.forget(partition, task.id)

    def cancel(self, task_id: str) -> None:
        """Interrupt a request if it is in hand; its outcome is in the store already."""
        if task_id in self._sequences:
            self._cancelled.add(task_id)
            if sequence := self._sequences[task_id]:
                self.engine.cancel(sequence)

    async def _attempt(self, task: Task, partition: int) -> Outcome:
        late = outcome.expiry(task, self.now())
        if late and (outcome.expiry(task, self.now(), begun=True) or not await self._begun(task, partition)):
            return self._ended(task, Status.EXPIRED, error=late)
        try:
            request = parse(task.kind, await payload_of(task, self.blobs))
            prompt = await asyncio.to_thread(self._prompt, request)
        except (InferenceError, BlobMissingError, BlobChangedError, BlobTooLargeError) as error:
            return self._failed(task, error.problem())
        speech, accepted = await self._claim(task, partition, request, prompt)
        if accepted.previous_finish in _WHOLE:
            return await self._end(speech, accepted.previous_finish, "")
        if accepted.tokens and accepted.previous != (self.model.digest, self.model.runner.format):
            return await self._end(speech, FinishReason.ERROR, "", ModelChangedError().problem())
        return await self._speak(speech)

    async def _begun(self, task: Task, partition: int) -> bool:
        """Whether some worker had begun to answer in time."""
        await self.tail.catch_up(partition)
        accepted = self.tail.accepted(partition, task.id)
        return accepted is not None and bool(accepted.tokens)

    def _prompt(self, request: Request) -> list[int]:
        if request.model not in {None, self.model.id}:
            raise ModelNotFoundError(f"this worker runs {self.model.id}, not {request.model!r}", field="payload.model")
        chat = isinstance(request, ChatRequest)
        tokenizer = self.model.tokenizer
        prompt = (
            tokenizer.chat(turns(request.messages))
            if isinstance(request, ChatRequest)
            else tokenizer.encode(written(request.prompt, tokenizer.plain))
        )
        most = self.model.runner.max_context - 1
        if len(prompt) > most:
            raise PromptTooLongError(
                f"the prompt has {len(prompt)} tokens, at most {most} fit with an answer",
                field="payload.messages" if chat else "payload.prompt",
            )
        return prompt

    async def _claim(self, task: Task, partition: int, request: Request, prompt: list[int]) -> tuple[Speech, Accepted]:
        """Claim the request, and wait until the claim comes back through the log with all that was before it."""
        claim = TokenDelta(
            task_id=task.id,
            type=DeltaType.CLAIM,
            claim=-1,
            index=0,
            worker=self.worker,
            seed=seed_of(task, request),
            model=self.model.id,
            digest=self.model.digest,
            format=self.model.runner.format,
        )
        _, offset = await self.producer.send(TOKENS, task.key, claim)
        await self.tail.reach(partition, offset)
        accepted = self.tail.accepted(partition, task.id)
        if accepted is None or accepted.claim != offset:
            raise SupersededError
        return Speech(task, partition, request, prompt, offset, list(accepted.tokens), [accepted.text]), accepted

    async def _speak(self, speech: Speech) -> Outcome:
        """Run what is left; a step that fails is tried again from where the answer stands."""
        for trial in range(_TRIALS):
            sequence = speech.sequence(self.model, trial)
            last = await self._hear(speech, sequence)
            if last.finish is FinishReason.DEADLINE:
                late = outcome.expiry(speech.task, self.now(), begun=sequence.start_by is None)
                return await self._end(speech, FinishReason.DEADLINE, "", late)
            if last.finish and last.finish is not FinishReason.ERROR:
                return await self._end(speech, last.finish, last.tail)
        return await self._end(speech, FinishReason.ERROR, "", StepFailedError().problem())

    async def _hear(self, speech: Speech, sequence: Sequence) -> Output:
        """Run a sequence, saying what comes; return its last output."""
        task = speech.task
        if task.id in self._cancelled:
            return sequence.end(FinishReason.CANCELLED)
        self._sequences[task.id] = sequence.id
        async with aclosing(self.engine.run(sequence)) as steps:
            async for outputs in steps:
                latest = self.tail.accepted(speech.partition, task.id)
                if latest and latest.claim > speech.claim:
                    raise SupersededError
                await self._say(speech, outputs)
        return outputs[-1]

    async def _say(self, speech: Speech, outputs: list[Output]) -> None:
        """Produce what came while the last was on its way: the first token at once, under load some together."""
        task, said = speech.task, []
        if any(output.started for output in outputs):
            event = outcome.event(task, Status.STARTED, now=self.now(), worker=self.worker, claim=speech.claim)
            said.append(self.producer.send(RESULTS, task.key, event))
        if ids := [token for output in outputs for token in output.tokens]:
            text = "".join(output.text for output in outputs)
            delta = speech.delta(DeltaType.TOKENS, token_ids=ids, text=text)
            said.append(self.producer.send(TOKENS, task.key, delta))
            speech.tokens += ids
            speech.text.append(text)
        await asyncio.gather(*said)

    async def _end(self, speech: Speech, finish: FinishReason, tail: str, problem: Problem | None = None) -> Outcome:
        """End the tokens in the log, and only then return what follows: its event may not overtake them."""
        task = speech.task
        usage = Usage(prompt_tokens=len(speech.prompt), completion_tokens=len(speech.tokens))
        end = speech.delta(DeltaType.END, text=tail, finish_reason=finish, usage=usage)
        _, offset = await self.producer.send(TOKENS, task.key, end)
        await self.tail.reach(speech.partition, offset)
        latest = self.tail.accepted(speech.partition, task.id)
        if latest is None or latest.claim != speech.claim:
            # Nobody reads this end: the outcome is for whoever claimed the request since.
            raise SupersededError
        how_far = {"claim": speech.claim, "tokens": len(speech.tokens)}
        match finish:
            case FinishReason.STOP | FinishReason.LENGTH:
                answer = Answer(
                    text="".join([*speech.text, tail]),
                    finish_reason=finish.value,
                    usage=Tokens(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens),
                    model=self.model.id,
                    digest=self.model.digest,
                )
                return outcome.succeeded(
                    task,
                    answer.model_dump_json().encode(),
                    tiers=self.settings.tiers,
                    largest=self.settings.max_upload_bytes,
                    now=self.now(),
                    worker=self.worker,
                    **how_far,
                )
            case FinishReason.DEADLINE:
                return self._ended(task, Status.EXPIRED, error=problem, **how_far)
            case FinishReason.CANCELLED:
                return self._ended(task, Status.CANCELLED, **how_far)
        return self._failed(task, problem or StepFailedError().problem(), **how_far)

    def _ended(self, task: Task, status: Status, **fields: object) -> Outcome:
        return outcome.ended(task, status, now=self.now(), worker=self.worker, **fields)

    def _failed(self, task: Task, problem: Problem, **fields: object) -> Outcome:
        if task.tier is None:
            raise ValueError("the task is not stamped: it has no tier")
        policy = self.settings.tiers[task.tier]
        return outcome.failed(
            task, problem, policy=policy, now=self.now(), worker=self.worker, jitter=self.jitter(), after=0, **fields
        )
