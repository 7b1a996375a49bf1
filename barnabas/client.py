"""The Python client, for asyncio: REST for what is asked once, the WebSocket for what comes as it happens.

    async with Client() as client:
        receipt = await client.submit("cron.parse", {"expression": "*/5 * * * *"})
        result = await client.result(receipt)
        async for text in client.stream("Why is the sky blue?", tier="urgent"):
            print(text, end="")

`barnabas.SyncClient` is the same without `await`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from barnabas import endpoint
from barnabas.answer import Answer
from barnabas.blob_calls import BlobCalls
from barnabas.channel import ALL, OF_CONVERSATION, subscribe_frame
from barnabas.channels import Channels
from barnabas.errors import ClientError, NoStackError, UsageError, WaitTimeoutError
from barnabas.fold import ended
from barnabas.letter_calls import LetterCalls
from barnabas.refusal import refusal
from barnabas.replies import Event, Gap, Kind, Readiness, Receipt, Reply, Result, State, Step, Tokens
from barnabas.schedule_calls import ScheduleCalls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from schemas.tiers import Tier

R = TypeVar("R", bound=Reply)


class _Kinds(Reply, frozen=True, kw_only=True):
    kinds: list[Kind]


class Client(ScheduleCalls, LetterCalls, BlobCalls):
    """A client of the edge. It connects when it is first used; use it in one event loop."""

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, timeout: float = 30.0, patience: float = 30.0
    ) -> None:
        """Make a client.

        Args:
            url: address of the edge, such as `http://127.0.0.1:8420`; else found as `barnabas.endpoint.find` tells.
            api_key: the key; found likewise.
            timeout: seconds that the edge may take to answer a request.
            patience: seconds for which a WebSocket that broke is tried anew.

        Raises:
            NoStackError: no address was given and no stack runs here.
            CredentialsError: there is no key for that address.
        """
        self.endpoint = endpoint.find(url, api_key)
        self._channels = Channels(self.endpoint, patience=patience)
        self._http = httpx.AsyncClient(
            base_url=self.endpoint.url,
            headers=self.endpoint.headers,
            timeout=timeout,
            trust_env=not self.endpoint.here,  # no proxy stands between this machine and itself
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; what was submitted goes on."""
        await self._channels.close()
        await self._http.aclose()

    async def submit(
        self,
        kind: str,
        payload: Mapping[str, Any] | None = None,
        *,
        payload_ref: str | None = None,
        tier: Tier | str | None = None,
        idempotency_key: str | None = None,
        ordering_key: str | None = None,
        conversation: str | None = None,
        then: Sequence[Step] = (),
        deadline: datetime | None = None,
    ) -> Receipt:
        """Hand in a task; when this returns it is durable.

        Args:
            kind: such as `cron.parse`; `kinds` lists all.
            payload: what the kind wants.
            payload_ref: in place of the payload, the `ref` under which its JSON was uploaded.
            tier: the kind's own by default.
            idempotency_key: the same key with the same payload is the same task, however often it is sent.
            ordering_key: first attempts of tasks with the same key run in order.
            conversation: for `llm.*`: the conversation that it belongs to.
            then: what follows, step by step; `result` waits for the last one.
            deadline: when (an aware time) it and all steps end at the latest; by default each has its tier's time.

        Raises:
            EdgeError: the edge refused; `code` and `field` say why.
            NoStackError: nothing answers.
        """
        body = _present(
            kind=kind,
            payload=payload,
            payload_ref=payload_ref,
            tier=tier,
            idempotency_key=idempotency_key,
            ordering_key=ordering_key,
            conversation=conversation,
            then=list(then) or None,
            deadline=deadline and deadline.isoformat(),
        )
        return await self._ask("POST", "/v1/tasks", Receipt, body)

    async def result(
        self,
        task: Receipt | str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - its message says that the task goes on
        watch: Callable[[Event | Tokens | Gap], None] = lambda _frame: None,
    ) -> Result:
        """Wait until a task, and each step that follows it, has ended, and return how the last one did.

        Args:
            task: the task, or its id.
            timeout: the most seconds to wait; without, as long as the task's own deadline lets it run.
            watch: called with all that happens meanwhile.

        Raises:
            TaskFailedError: it failed.
            TaskExpiredError: it did not start, or did not end, in its time.
            TaskCancelledError: it was cancelled.
            WaitTimeoutError: it has not ended yet; it goes on.
            EdgeError: there is no such task, or its result was too large for its event and is not kept any more.
        """
        try:
            async with asyncio.timeout(timeout), aclosing(self.events(task)) as events:
                async for event in events:
                    watch(event)
                    if isinstance(event, Event) and event.last:
                        return await self._whole(ended(event), event.result_ref)
        except TimeoutError:
            raise WaitTimeoutError(f"{_id(task)} has not ended within {timeout:g} s; it goes on") from None
        raise ClientError(f"{_id(task)} said no end")

    def stream(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        *,
        tier: Tier | str | None = None,
        conversation: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Answer:
        """Ask the model, and get the text as it comes.

        Args:
            prompt: a question, or messages of `role` (system, user, assistant) and `content`.
            tier: of `llm.chat` by default.
            conversation: the conversation that it belongs to.
            idempotency_key: the same key with the same question is the same task.
            options: max_tokens, temperature, top_p, top_k, seed, stop, …; those that are None are left out.

        Returns:
            An async iterator of text, with `receipt` and `result`.
        """
        asked = {"prompt": prompt} if isinstance(prompt, str) else {"messages": list(prompt)}
        frame = {
            "type": "ask",
            **asked,
            **_present(tier=tier, conversation=conversation, idempotency_key=idempotency_key),
            "options": _present(**options),
        }
        return Answer(lambda: self._channels.subscribed(frame))

    async def ask(self, prompt: str | Sequence[Mapping[str, str]], **more: Any) -> str:
        """Ask the model and return the whole answer; arguments and errors are those of `stream`."""
        return "".join([text async for text in self.stream(prompt, **more)])

    async def events(
        self, task: Receipt | str | None = None, *, conversation: str | None = None, after: str | None = None
    ) -> AsyncGenerator[Event | Tokens | Gap]:
        """Yield what happens to a task, from its beginning, and to the steps that follow it; or to all of one's own.

        Of a conversation, or of all, what runs is told from its beginning, then all that comes.

        Args:
            task: the task, or its id.
            conversation: in place of a task: all tasks of this conversation.
            after: the `cursor` of something that was told: what comes after that, all of it. A `Gap` says what of it the
                log has no more.

        Raises:
            EdgeError: there is no such task, or the cursor is not one of this subscription (`cursor.invalid`).
            NoStackError: nothing answers.
            ClientError: both a task and a conversation were given.
        """
        if task is not None and conversation is not None:
            raise ClientError("either a task or a conversation")
        identity = ALL if task is None else _id(task)
        if conversation is not None:
            identity = OF_CONVERSATION + conversation
        async with self._channels.subscribed(subscribe_frame(identity, after), identity) as sub:
            async for frame in sub:
                yield frame

    async def state(self, task: Receipt | str) -> State:
        """Return a task as it is now.

        Raises:
            EdgeError: there is no such task (`task.unknown`).
        """
        return await self._ask("GET", f"/v1/tasks/{quote(_id(task), safe='')}", State)

    async def cancel(self, task: Receipt | str) -> State:
        """Cancel a task, whether it waits or runs.

        Raises:
            EdgeError: it had ended before (`task.ended`), or there is no such task.
        """
        return await self._ask("DELETE", f"/v1/tasks/{quote(_id(task), safe='')}", State)

    async def kinds(self) -> list[Kind]:
        """Return the kinds of tasks that somebody serves, with the JSON Schema of payload and result."""
        return (await self._ask("GET", "/v1/kinds", _Kinds)).kinds

    async def ready(self) -> Readiness:
        """Return whether the edge serves, and which services were there within the last seconds.

        Raises:
            NoStackError: nothing answers.
        """
        # Not ready is an answer too, with 503.
        return self._read(await self._request("GET", "/readyz", fine=(503,)), Readiness)

    async def _whole(self, result: Result, ref: str | None) -> Result:
        """Return a result with its value, wherever that is."""
        if ref is None:
            return result
        return msgspec.structs.replace(result, value=msgspec.json.decode(await self.download(ref)))

    async def _ask(self, method: str, path: str, reply: type[R], body: Mapping[str, Any] | None = None) -> R:
        try:
            content = None if body is None else msgspec.json.encode(body)
        except (TypeError, ValueError) as error:
            raise UsageError(f"no JSON: {error}", field="payload") from None
        headers = {} if body is None else {"Content-Type": "application/json"}
        return self._read(await self._request(method, path, content, headers=headers), reply)

    async def _request(
        self,
        method: str,
        path: str,
        content: bytes | AsyncIterable[bytes] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (),
    ) -> httpx.Response:
        try:
            response = await self._http.request(method, path, content=content, headers=headers)
        except httpx.TimeoutException:
            raise WaitTimeoutError(f"the edge at {self.endpoint.url} did not answer in time") from None
        except httpx.TransportError as error:
            raise NoStackError(f"no stack answers at {self.endpoint.url}: start one with `barnabas up`") from error
        if response.is_error and response.status_code not in fine:
            raise refusal(response.status_code, response.headers, response.content)
        return response

    @staticmethod
    def _read(response: httpx.Response, reply: type[R]) -> R:
        try:
            return msgspec.json.decode(response.content, type=reply)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClientError(f"{response.url} answered what can't be read: {error}") from None


def _id(thing: Receipt | str) -> str:
    return thing if isinstance(thing, str) else thing.id


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
