"""`python -m benchmarks.inference.engine_server PORT`: our engine behind HTTP and nothing else, as llama.cpp's is.

No Kafka, no log of tokens, no edge: what is left is the engine, its loading, its preparing of prompts and its gathering
of tokens, as a worker has them. It answers `POST /completion` with server-sent events, and any `GET` with 200.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import msgspec

from backbone.clock import now_ms
from backbone.redis import connect
from backbone.settings import settings
from inference_worker import loading
from inference_worker.engine import Engine
from inference_worker.kv_cache import Bounds
from inference_worker.live_engine import LiveEngine
from inference_worker.pace import pause
from inference_worker.preparing import Preparing
from inference_worker.requests import CompleteRequest
from inference_worker.sequence import Sequence
from inference_worker.text import TextStream
from schemas.tiers import Tier

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

    from inference_worker.loading import Model

HOUR_MS = 3_600_000
_OK = "HTTP/1.1 200 OK\r\n"
_EVENTS = _OK + "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class _Body(msgspec.Struct):
    prompt: str
    n_predict: int
    ignore_eos: bool
    tier: Tier


class EngineServer:
    """Answers connections."""

    def __init__(self, model: Model, engine: LiveEngine, interval: float) -> None:
        self._model = model
        self._engine = engine
        self._preparing = Preparing(model)
        self._numbers = itertools.count()
        self._interval = interval
        self._speaking = 0

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer one request; a client that goes away ends it."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if head.startswith("get "):
                writer.write(f"{_OK}Content-Length: 0\r\n\r\n".encode())
            else:
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                body = msgspec.json.decode(await reader.readexactly(length), type=_Body)
                self._speaking += 1
                try:
                    await self._complete(body, writer)
                finally:
                    self._speaking -= 1
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _complete(self, body: _Body, writer: StreamWriter) -> None:
        writer.write(_EVENTS.encode())
        sequence = await self._sequence(body)
        began, first = time.perf_counter(), 0.0
        async with aclosing(self._engine.run(sequence)) as steps:
            async for outputs in steps:
                if ids := [token for output in outputs for token in output.tokens]:
                    first = first or time.perf_counter()
                    text = "".join(output.text for output in outputs)
                    _send(writer, {"content": text, "tokens": ids, "stop": False})
                    await writer.drain()
                    if not outputs[-1].finish:
                        now = asyncio.get_running_loop().time()
                        await asyncio.sleep(pause(self._speaking, self._interval, now))
        numbers = {"tokens_evaluated": len(sequence.prompt), "tokens_predicted": len(sequence.answer)}
        _send(writer, {"content": "", "tokens": [], "stop": True, **numbers, "engine_ms": 1000 * (first - began)})
        writer.write(b"0\r\n\r\n")

    async def _sequence(self, body: _Body) -> Sequence:
        how = CompleteRequest(prompt=body.prompt, max_tokens=body.n_predict, ignore_eos=body.ignore_eos, temperature=0)
        prepared = await self._preparing.prepare(how, now_ms())
        number = next(self._numbers)
        return Sequence(
            id=f"completion-{number}",
            prompt=prepared.prompt,
            how=how,
            seed=number,
            limit=how.max_tokens,
            rank=body.tier.rank,
            deadline=now_ms() + HOUR_MS,
            text=TextStream(self._model.tokenizer.detokenizer, how.stop),
        )


def _send(writer: StreamWriter, event: dict[str, object]) -> None:
    """Write one event as one chunk (RFC 9112, section 7.1)."""
    data = b"data: " + msgspec.json.encode(event) + b"\n\n"
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


async def main(port: int) -> None:
    """Load the model of the settings, and serve until a signal comes."""
    here = settings()
    redis = connect(here)
    model = await loading.load(here, redis, lambda _: None)
    await redis.aclose()
    bounds = Bounds.of(model.runner, here.inference_slots, here.inference_cache_bytes)
    engine = LiveEngine(Engine(model.runner, model.tokenizer.ends, bounds), now_ms)
    engine.start()
    answering = EngineServer(model, engine, here.token_interval.total_seconds())
    server = await asyncio.start_server(answering.serve, "127.0.0.1", port)
    async with server:
        error = await engine.crashed
    raise error


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
