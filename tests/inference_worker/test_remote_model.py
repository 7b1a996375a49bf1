"""A model's server that fails in every way: tried again while there is time, and told as it is when there is none."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from backbone.clock import now_ms
from backbone.errors import SettingsError
from backbone.settings import Settings
from inference_worker.errors import InferenceError, ModelNotFoundError, RemoteDeniedError, RemoteRefusedError
from inference_worker.remote.model import RemoteModel
from schemas.records import FinishReason, Usage
from tests.inference_worker.faulty_server import (
    NAME,
    FaultyServer,
    Scripted,
    answer,
    broken,
    event,
    hanging,
    refused,
    said,
)
from tests.inference_worker.test_remote_body import USER, chat, complete, run_of
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from inference_worker.remote.run import RemoteRun
    from inference_worker.scheduled import Output

LIMIT = 30.0


def _settings(server: FaultyServer, **more: Any) -> Settings:
    return Settings(remote_url=server.url, model=NAME, **more)


@asynccontextmanager
async def opened(server: FaultyServer, **more: Any) -> AsyncIterator[RemoteModel]:
    model = await RemoteModel.open(_settings(server, **more), now_ms, lambda _: None)
    try:
        yield model
    finally:
        await model.stop()


@pytest.fixture
async def server() -> AsyncIterator[FaultyServer]:
    async with FaultyServer() as running:
        yield running


@pytest.fixture
async def model(server) -> AsyncIterator[RemoteModel]:
    async with opened(server) as model:
        yield model


def _in(seconds: float) -> dict[str, int]:
    return {"deadline": now_ms() + int(seconds * 1000)}


def a_run(request: Any = None, said: str = "", pieces: int = 0, **more: Any) -> RemoteRun:
    return run_of(request or chat(), said, pieces, **(_in(LIMIT) | more))


async def hear(model: RemoteModel, run: RemoteRun) -> list[Output]:
    heard: list[Output] = []
    async with asyncio.timeout(LIMIT), aclosing(model.run(run)) as outputs:
        async for batch in outputs:
            heard += batch
    return heard


def text_of(heard: list[Output]) -> str:
    return "".join(output.text for output in heard)


async def test_an_answer_is_heard_piece_by_piece(server, model):
    server.script(answer("Hel", "lo", usage=(7, 2)))
    heard = await hear(model, a_run(start_by=now_ms() + 20_000))
    assert [output.started for output in heard] == [True, False, False, False]
    assert [(output.index, output.tokens, output.text) for output in heard[1:3]] == [(0, (0,), "Hel"), (1, (0,), "lo")]
    assert (heard[-1].finish, heard[-1].usage) == (FinishReason.STOP, Usage(prompt_tokens=7, completion_tokens=2))


@pytest.mark.parametrize(
    "fault",
    [
        refused(500),
        refused(503, retry_after="0"),
        refused(429),
        broken(),
        Scripted(b""),
        Scripted(b"data: [DONE]\n\n"),
        Scripted(b"data: {nonsense\n\n"),
        Scripted(b'data: {"error": {"message": "it went wrong"}}\n\n'),
        Scripted(event(delta={}, finish_reason="abort")),
    ],
    ids=str,
)
async def test_what_may_pass_is_tried_again(server, model, fault):
    server.script(fault, answer("Hello"))
    heard = await hear(model, a_run())
    assert (text_of(heard), heard[-1].finish) == ("Hello", FinishReason.STOP)
    assert len(server.asked) == 2


async def test_an_answer_that_breaks_off_goes_on_where_it_stood(server, model):
    server.script(broken("One,", " two, "), broken(), answer(" ", "three", finish="length", usage=(9, 2)))
    run = a_run(chat(max_tokens=5))
    heard = await hear(model, run)
    assert text_of(heard) == "One, two, three"
    assert [output.index for output in heard if output.tokens] == [0, 1, 2]
    assert [body["messages"][1:] for body in server.asked] == [
        [],
        [{"role": "assistant", "content": "One, two,"}],
        [{"role": "assistant", "content": "One, two,"}],
    ]
    assert [body["max_tokens"] for body in server.asked] == [5, 4, 4]  # the blank is said anew, and dropped
    assert heard[-1].usage == Usage(prompt_tokens=8, completion_tokens=3)


async def test_an_answer_that_was_whole_when_it_broke_off_is_whole(server, model):
    server.script(Scripted(said("Hello") + event(delta={}, finish_reason="stop"), breaks=True))
    heard = await hear(model, a_run())
    assert (heard[-1].finish, heard[-1].usage) == (FinishReason.STOP, None)


async def test_a_server_that_can_not_go_on_says_so_in_a_typed_way():
    async with FaultyServer("someone") as server, opened(server) as model:
        server.script(broken("One,"))
        run = a_run()
        heard = await hear(model, run)
        assert (text_of(heard), heard[-1].finish) == ("One,", FinishReason.ERROR)
        assert run.failure
        assert (run.failure.code, run.failure.retryable) == ("llm.resume_unsupported", False)
        server.script(broken("three,"), answer(" four"))
        assert text_of(await hear(model, a_run(complete()))) == "three, four"
        assert server.asked[-1]["prompt"] == "One, two,three,"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (refused(400, "bad"), "llm.remote_refused"),
        (refused(307, location="http://elsewhere.invalid/"), "llm.remote_refused"),
        (refused(400, "the maximum context length is 8"), "llm.prompt_too_long"),
        (Scripted(b'{"choices": []}', headers={"Content-Type": "application/json"}), "llm.remote_refused"),
        (answer("x", finish="content_filter"), "llm.filtered"),
        (Scripted(said("x" * 600_000)), "llm.remote_refused"),
    ],
    ids=str,
)
async def test_what_will_not_pass_is_told_at_once(server, model, fault, code):
    server.script(fault)
    run = a_run()
    heard = await hear(model, run)
    assert heard[-1].finish is FinishReason.ERROR
    assert run.failure
    assert (run.failure.code, run.failure.retryable) == (code, False)
    assert len(server.asked) == 1


async def test_patience_ends_and_the_task_may_try_again_later(server):
    async with opened(server, remote_patience=timedelta(0)) as model:
        server.script(refused(429, retry_after="40"))
        run = a_run()
        assert (await hear(model, run))[-1].finish is FinishReason.ERROR
        assert run.failure
        assert (run.failure.code, run.failure.retryable, run.failure.retry_after) == ("llm.remote_busy", True, 40)
        # The others rest as well: this one's time is over before the server wants to be asked.
        late = a_run(start_by=now_ms() + 200)
        assert [output.finish for output in await hear(model, late)] == [FinishReason.DEADLINE]
        assert len(server.asked) == 1


async def test_a_key_that_is_not_taken_is_told_and_not_shown():
    async with FaultyServer() as server:
        key = "sk-secret"
        async with opened(server, remote_api_key=SecretStr(key), remote_patience=timedelta(0)) as model:
            assert server.headers["authorization"] == f"Bearer {key}"
            server.script(refused(401, f"Incorrect key {key}"))
            run = a_run()
            await hear(model, run)
        assert isinstance(run.failure, RemoteDeniedError)
        assert key not in run.failure.message
        assert key not in repr(_settings(server, remote_api_key=SecretStr(key)))


async def test_a_key_may_be_in_a_file(server, tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-in-a-file\n")
    async with opened(server, remote_api_key_file=file):
        assert server.headers["authorization"] == "Bearer sk-in-a-file"
    with pytest.raises(SettingsError, match="REMOTE_API_KEY_FILE"):
        await RemoteModel.open(_settings(server, remote_api_key_file=tmp_path / "none"), now_ms, lambda _: None)
    with pytest.raises(SettingsError, match="REMOTE_API_KEY"):
        await RemoteModel.open(_settings(server, remote_api_key=SecretStr("a\nb")), now_ms, lambda _: None)


async def test_a_silent_server_has_failed(server):
    async with opened(server, remote_silence=timedelta(seconds=0.3)) as model:
        server.script(hanging("One,"), answer(" two"))
        assert text_of(await hear(model, a_run())) == "One, two"


@pytest.mark.parametrize("how", ["cancel", "deadline", "disconnect"])
async def test_what_ends_from_outside_ends_at_the_server_and_frees_its_place(server, how):
    async with opened(server, inference_slots=1) as model:
        server.script(hanging("One,"), answer("Next"))
        run = a_run(**_in(2 if how == "deadline" else LIMIT))
        waiting = a_run()
        waiting.id = "waiting"
        async with aclosing(model.run(run)) as outputs:
            heard = await anext(outputs)
            after = asyncio.create_task(hear(model, waiting))
            if how == "cancel":
                model.cancel(run.id)
            if how != "disconnect":
                async for batch in outputs:
                    heard += batch
        if how != "disconnect":
            reason = FinishReason.CANCELLED if how == "cancel" else FinishReason.DEADLINE
            assert [output.finish for output in heard if output.finish] == [reason]
        assert text_of(await after) == "Next"

        async def left() -> bool:
            return server.left == 1

        await until(left)


async def test_one_that_waits_for_its_turn_too_long_never_began(server):
    async with opened(server, inference_slots=1) as model:
        server.script(hanging("One,"))
        async with aclosing(model.run(a_run())) as outputs:
            await anext(outputs)
            late = a_run(start_by=now_ms() + 200)
            late.id = "late"
            (end,) = await hear(model, late)
        assert (end.finish, end.started, late.start_by is not None) == (FinishReason.DEADLINE, False, True)


async def test_an_answer_that_has_all_its_tokens_asks_for_none(server, model):
    heard = await hear(model, a_run(chat(max_tokens=2), "ab", 2))
    assert [output.finish for output in heard] == [FinishReason.LENGTH]
    assert server.asked == []


async def test_what_it_is_told_by_the_list_of_models():
    async with FaultyServer() as server:
        with pytest.raises(ModelNotFoundError, match="the server has scripted"):
            await RemoteModel.open(_settings(server).model_copy(update={"model": "other"}), now_ms, lambda _: None)
        async with opened(server) as one:
            server.models = [{"id": NAME, "owned_by": "llamacpp", "created": 2, "meta": {"n_params": 5}}]
            async with opened(server) as two:
                server.models[0]["created"] = 3
                async with opened(server) as three:
                    assert one.digest != two.digest == three.digest
        server.models = None
        async with opened(server) as model:
            assert model.id == NAME
        server.models = [{"id": 4}]
        with pytest.raises((ModelNotFoundError, RemoteRefusedError)):
            await RemoteModel.open(_settings(server), now_ms, lambda _: None)


async def test_a_server_that_is_not_there_is_waited_for():
    server = FaultyServer()
    async with server:
        port = server._port
    told: list[str] = []
    opening = asyncio.create_task(RemoteModel.open(_settings(server), now_ms, told.append))

    async def waits() -> bool:
        return any("waiting" in each for each in told)

    await until(waits)
    server._server = await asyncio.start_server(server._serve, "127.0.0.1", port)
    try:
        async with asyncio.timeout(LIMIT):
            await (await opening).stop()
    finally:
        server._server.close()


async def test_it_can_not_be_deterministic(server):
    with pytest.raises(InferenceError, match="DETERMINISTIC"):
        await RemoteModel.open(_settings(server, deterministic=True), now_ms, lambda _: None)


async def test_requests_for_another_model_or_option_are_refused(server, model):
    with pytest.raises(ModelNotFoundError):
        await model.prepare(chat(model="other"), 0)
    with pytest.raises(InferenceError, match="min_tokens"):
        await model.prepare(chat(min_tokens=2), 0)
    assert (await model.prepare(chat(model=NAME, messages=[USER]), 0)).prompt == []


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://x:99999/v1"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="is no URL of an API"):
        Settings(remote_url=url)
