"""A model that a server elsewhere runs, as a worker serves it: turns by tier, tries that fail, deadlines and cancels.

wait for a turn -> ask -> say what comes -> it ends
                    ^         |
                    +-- pause-+  the server failed: ask for what is left, as long as the patience lasts
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import structlog

from inference_worker.choosing import UNGUIDED
from inference_worker.errors import InferenceError, ModelNotFoundError, RemoteError, UnsupportedOptionError
from inference_worker.preparing import Prepared
from inference_worker.remote.body import asked
from inference_worker.remote.client import Client
from inference_worker.remote.dialects import dialect_of
from inference_worker.remote.run import RemoteRun
from inference_worker.remote.turns import Turns
from inference_worker.scheduled import Output
from inference_worker.serving import Serving, gathered
from inference_worker.speech import seed_of
from schemas.records import FinishReason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from backbone.settings import Settings
    from inference_worker.reading import Reading
    from inference_worker.remote.dialects import Dialect
    from inference_worker.requests import ReadRequest, Request
    from inference_worker.speech import Speech
    from schemas.records import Task

FORMAT: Final = "remote"
"""What claims name as the format: ids of tokens mean nothing."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds between two tries: twice as long each time."""
_OPEN_PAUSE = 1.0
_SAME: Final = ("vocab_type", "n_vocab", "n_embd", "n_params", "size", "ftype")
"""What llama.cpp says of a model, of what stays the same at each start."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Speaking:
    run: RemoteRun
    turn: asyncio.Event
    outputs: asyncio.Queue[Output]
    work: asyncio.Task[None] | None = None


class RemoteModel(Serving[RemoteRun]):
    """Serves one model of one server."""

    def __init__(
        self, about: dict[str, Any], client: Client, dialect: Dialect, settings: Settings, now: Callable[[], int]
    ) -> None:
        """Serve a model.

        Args:
            about: what the server says of it, its `id` at least.
            client: asks the server.
            dialect: the kind of server.
            settings: `inference_slots` and `remote_patience` are used.
            now: the time in ms since the epoch.
        """
        self.id, self.digest, self.format = about["id"], _digest(about), FORMAT
        self.crashed = asyncio.get_running_loop().create_future()
        self.calls_in_tags = True
        self._client = client
        self._dialect = dialect
        self._patience = settings.remote_patience.total_seconds()
        self._now = now
        self._turns: Turns[RemoteRun] = Turns(settings.inference_slots)
        self._speaking: dict[str, _Speaking] = {}
        self._rests_until = 0.0

    @classmethod
    async def open(cls, settings: Settings, now: Callable[[], int], tell: Callable[[str], None]) -> Self:
        """Find the model that the settings name, waiting for its server if need be.

        Args:
            settings: where it is, and how it is asked.
            now: the time in ms since the epoch.
            tell: called with what is being done, for people who wait.

        Raises:
            InferenceError: the server has no such model, or is none.
            SettingsError: the settings contradict each other.
        """
        if settings.deterministic:
            raise InferenceError(
                "what a model's server says can't be the same each time; leave it out, or BARNABAS_REMOTE_URL",
                field="BARNABAS_DETERMINISTIC",
            )
        client = Client.of(settings, now)
        try:
            about = _find(settings.model, await _listed(client, tell))
        except BaseException:
            await client.aclose()
            raise
        dialect = dialect_of(settings.remote_server, settings.remote_resume, str(about.get("owned_by", "")))
        _log.info("remote.found", model=settings.model, server=dialect.name, resume=dialect.resume.value)
        return cls(about, client, dialect, settings, now)

    async def prepare(self, request: Request, at: int) -> Prepared:  # noqa: ARG002 - the server knows the time
        """Check that the server can answer a request; its tokens are the server's matter."""
        if request.model not in {None, self.id}:
            raise ModelNotFoundError(f"this worker asks for {self.id}, not {request.model!r}", field="payload.model")
        self._dialect.check(request)
        return Prepared([], UNGUIDED)

    async def reading(self, request: ReadRequest, task: Task) -> Reading[Any]:  # noqa: ARG002 - of the port
        """Refuse: hidden states and scores stay with the server."""
        raise UnsupportedOptionError("a model's server is asked for llm.chat and llm.complete alone", field="kind")

    def begin(self, speech: Speech, trial: int) -> RemoteRun:
        """Return a run of what is left; see `Serving`."""
        task = speech.task
        begun = task.attempt > 1 or bool(speech.tokens) or trial > 0
        return RemoteRun(
            id=f"{task.id}@{speech.claim}.{trial}",
            request=speech.request,
            seed=seed_of(task, speech.request),
            owner=task.owner,
            rank=task.tier.rank if task.tier else 0,
            deadline=task.deadline,
            start_by=None if begun else task.start_by,
            said="".join(speech.text),
            pieces=len(speech.tokens),
        )

    async def run(self, run: RemoteRun) -> AsyncGenerator[list[Output], None]:
        """Run; see `Serving`."""
        speaking = self._speaking[run.id] = _Speaking(run, asyncio.Event(), asyncio.Queue())
        speaking.work = asyncio.create_task(self._speak(speaking), name=f"remote {run.id}")
        try:
            while True:
                batch = await gathered(speaking.outputs)
                yield batch
                if batch[-1].finish:
                    return
        finally:
            speaking.work.cancel()
            await asyncio.gather(speaking.work, return_exceptions=True)
            del self._speaking[run.id]

    def cancel(self, run_id: str) -> None:
        """End a run where it stands; see `Serving`."""
        speaking = self._speaking.get(run_id)
        if speaking and speaking.work and not speaking.run.ended:
            speaking.work.cancel()
            speaking.outputs.put_nowait(speaking.run.end(FinishReason.CANCELLED))

    async def stop(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _speak(self, speaking: _Speaking) -> None:
        run, say = speaking.run, speaking.outputs.put_nowait
        self._turns.add(run)
        try:
            async with asyncio.timeout(None) as limit:
                self._set_alarm(limit, run)
                self._next()
                await speaking.turn.wait()
                say(await self._try(run, say, limit))
        except TimeoutError:
            say(run.end(FinishReason.DEADLINE))
        except InferenceError as error:
            _log.warning("remote.failed", run=run.id, code=error.code, reason=_told(error))
            say(run.fail(error))
        except Exception:  # noqa: BLE001
            # A fault of ours: the answer is tried again from where it stands.
            _log.exception("remote.fault", run=run.id)
            say(run.end(FinishReason.ERROR))
        finally:
            self._turns.leave(run)
            self._next()

    def _next(self) -> None:
        for run in self._turns.begin():
            self._speaking[run.id].turn.set()

    def _set_alarm(self, limit: asyncio.Timeout, run: RemoteRun) -> None:
        limit.reschedule(asyncio.get_running_loop().time() + (run.alarm - self._now()) / 1000)

    async def _try(self, run: RemoteRun, say: Callable[[Output], None], limit: asyncio.Timeout) -> Output:
        """Ask until the answer is whole; return its last output."""
        time = asyncio.get_running_loop().time
        pause, until = FIRST_PAUSE, time() + self._patience
        while not run.full:
            stood = run.pieces
            try:
                await self._ask(run, say, limit)
            except RemoteError as error:
                if run.whole:
                    break
                if run.pieces > stood:
                    pause, until = FIRST_PAUSE, time() + self._patience
                if error.retry_after:
                    self._rests_until = max(self._rests_until, time() + error.retry_after)
                if max(self._rests_until, time() + pause) > until:
                    raise
                _log.info("remote.tries_again", run=run.id, code=error.code, reason=_told(error), said=run.pieces)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                break
        return run.close()

    async def _ask(self, run: RemoteRun, say: Callable[[Output], None], limit: asyncio.Timeout) -> None:
        """Ask once for what is left, and say it.

        Raises:
            InferenceError: the server fails, breaks off or refuses.
        """
        ask = asked(run, self._dialect, self.id)
        await asyncio.sleep(self._rests_until - asyncio.get_running_loop().time())
        run.ask_again(ask.again)
        async with self._client.ask(ask.path, ask.body) as answer, aclosing(answer) as chunks:
            if run.start_by is not None:
                run.start_by = None
                self._set_alarm(limit, run)
                say(Output(run.id, run.pieces, started=True))
            async for chunk in chunks:
                if output := run.take(chunk):
                    self._turns.spoke(run, len(output.tokens))
                    say(output)
                elif run.whole and run.full:
                    return
        if not run.whole:
            raise RemoteError("the model's server broke the answer off")


def _told(error: InferenceError) -> str:
    """Return what a log may hold of an error: what follows a colon may be the server's, and repeat what it was asked."""
    return error.message.partition(": ")[0]


async def _listed(client: Client, tell: Callable[[str], None]) -> list[dict[str, Any]] | None:
    """Ask for the list of models until the server is there."""
    tell("asking the model's server")
    while True:
        try:
            return await client.models()
        except RemoteError as error:
            _log.warning("remote.waits", code=error.code, reason=error.message)
            tell(f"waiting for the model's server: {error.message}")
            await asyncio.sleep(error.retry_after or _OPEN_PAUSE)


def _find(model: str, listed: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Return what the list says of a model; where there is no list, only its name."""
    if listed is None:
        return {"id": model}
    found = next((entry for entry in listed if entry["id"] == model), None)
    if found is None:
        names = ", ".join(entry["id"] for entry in listed[:20])
        raise ModelNotFoundError(f"the server has {names or 'none'}, not {model!r}", field="BARNABAS_MODEL")
    return found


def _digest(about: dict[str, Any]) -> str:
    """Return a fingerprint of what a server says of a model, of what stays the same when it starts anew."""
    meta = about.get("meta")
    same = [about["id"], about.get("root"), [meta.get(name) for name in _SAME] if isinstance(meta, dict) else None]
    return hashlib.sha256(msgspec.json.encode(same)).hexdigest()
