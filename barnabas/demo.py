"""The demo: a task of each kind in its tier, a timer, and a model's answer as it comes, all through the edge.

Steps that need no model run one after the other. Beside them, as soon as it is there, the model is asked a question, and
sums up a page that a chain scrapes for it. A step that fails is told as such and disturbs no other.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol

from barnabas.errors import ClientError, TaskCancelledError, TaskExpiredError, WaitTimeoutError
from barnabas.page import Page
from barnabas.replies import Receipt, Reply, Step, Tokens
from schemas.errors import BarnabasError
from schemas.records import Status
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from barnabas.client import Client
    from barnabas.replies import Schedule

SAMPLES = resources.files("barnabas") / "samples"
MAILS = ("invoice", "newsletter", "personal")
EXPRESSION = "*/15 8-18 * * mon-fri"
PROMPT = "In two sentences: what is Apache Kafka good for?"

SUM_UP = Step(
    kind="llm.chat",
    payload={
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "data",
                        "source": "{{ result.final_url }}",
                        "text": "{{ result.text }}",
                        "max_chars": 3000,
                    },
                    # After the page: so small a model has forgotten what it was to do, where that came first.
                    {"type": "text", "text": "Summarize the text above in one or two sentences."},
                ],
            }
        ],
        "max_tokens": 96,
        "temperature": 0,
        "seed": 1,
    },
)
"""What follows the scrape of a page: what it says goes to the model as data, as much of it as has room."""
MAX_TOKENS = 64
PATIENCE = 120.0
"""Seconds that a step may take: the first mail of a stack waits until the model that reads it has been exported."""


HEARSAY = 20.0
"""Seconds that the edge may take to hear of a kind from the service that does it."""


class Row(Reply, frozen=True, kw_only=True):
    """A step of the demo and how it went, as `--json` prints it.

    Attributes:
        latency_ms: from handing it in to its result; for a schedule, to its fire.
        topic: where its record lies, with partition and offset; None if it was not accepted.
        first_token_ms: of an answer, from the question to its first token.
        tokens: how many an answer has.
        error: why it did not succeed.
    """

    step: str
    kind: str
    tier: str
    status: str
    latency_ms: float | None
    topic: str | None
    partition: int | None
    offset: int | None
    first_token_ms: float | None = None
    tokens: int | None = None
    error: str | None = None

    def line(self) -> dict[str, Any]:
        """Return the row as JSON has it: what only some steps have is left out of the others."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        some = ("first_token_ms", "tokens", "error")
        return {name: value for name, value in fields.items() if value is not None or name not in some}


class Audience(Protocol):
    """Whoever watches the demo."""

    def note(self, text: str) -> None:
        """Hear what is going on."""

    def row(self, row: Row, result: Any) -> None:
        """See a step that is over, and what came of it."""

    def speak(self, text: str) -> None:
        """Hear a piece of the model's answer."""


@dataclass
class _Step:
    """A step while it runs: what is known of it so far."""

    step: str
    kind: str
    tier: str
    began: float
    record: Receipt | Schedule | None = None
    latency_ms: float | None = None
    first_token_ms: float | None = None
    tokens: int | None = None

    def since(self) -> float:
        return round((time.perf_counter() - self.began) * 1000, 1)

    def row(self, status: str, error: str | None = None) -> Row:
        return Row(
            step=self.step,
            kind=self.kind,
            tier=self.tier,
            status=status,
            latency_ms=self.latency_ms,
            topic=self.record.topic if self.record else None,
            partition=self.record.partition if self.record else None,
            offset=self.record.offset if self.record else None,
            first_token_ms=self.first_token_ms,
            tokens=self.tokens,
            error=error,
        )


class Demo:
    """The demo, for one audience."""

    def __init__(self, client: Client, audience: Audience, *, page_port: int, url: str | None = None) -> None:
        """Make the demo.

        Args:
            client: speaks to the edge.
            audience: is told all.
            page_port: port of the page's own server, which the tiers must be allowed to reach.
            url: the page to scrape; one of a small server of the demo's own by default.
        """
        self._client = client
        self._audience = audience
        self._page_port = page_port
        self._url = url
        self._page_turn = asyncio.Lock()

    async def run(self, model_ready: Callable[[], Awaitable[None]]) -> list[Row]:
        """Run all steps and return a row for each.

        Args:
            model_ready: awaited before the model is asked.
        """
        others, asked = await asyncio.gather(self._without_model(), self._with_model(model_ready))
        return [*others, *asked]

    async def _without_model(self) -> list[Row]:
        cron = await self._run("cron", "cron.parse", Tier.REALTIME, self._cron)
        web = await self._run("web", "web.scrape", Tier.REALTIME, self._scrape)
        timer = await self._run("timer", "schedule", Tier.REALTIME, self._schedule)
        mails = [await self._mail(name) for name in MAILS]
        return [cron, *mails, web, timer]

    async def _with_model(self, ready: Callable[[], Awaitable[None]]) -> list[Row]:
        return [await self._model(ready), await self._summary(ready)]

    async def _run(self, step: str, kind: str, tier: Tier, work: Callable[[_Step], Awaitable[Any]]) -> Row:
        """Do a step, and make a row of it however it ends."""
        doing = _Step(step, kind, tier.value, time.perf_counter())
        try:
            result = await work(doing)
        except BarnabasError as error:
            doing.latency_ms = doing.latency_ms or doing.since()
            row, result = doing.row(_status(error), f"{error} ({error.code})"), None
        else:
            row = doing.row("succeeded")
        self._audience.row(row, result)
        return row

    async def _announced(self, kind: str) -> None:
        """Wait until the edge has heard that somebody does this kind: word of it travels by a topic, after the start.

        After `HEARSAY` seconds the step goes on, and the edge says what is wrong.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARSAY):
                while all(known.kind != kind for known in await self._client.kinds()):  # noqa: ASYNC110 - REST alone tells
                    await asyncio.sleep(0.05)

    async def _task(self, doing: _Step, payload: dict[str, Any], *then: Step) -> Any:
        for kind in (doing.kind, *(step.kind for step in then)):
            await self._announced(kind)
        doing.began = time.perf_counter()
        receipt = await self._client.submit(doing.kind, payload, tier=doing.tier, then=then)
        doing.record = receipt
        result = await self._client.result(receipt, timeout=PATIENCE)
        doing.latency_ms = doing.since()
        return result.value

    async def _cron(self, doing: _Step) -> Any:
        return await self._task(doing, {"expression": EXPRESSION, "tz": "Europe/Berlin", "count": 3})

    async def _mail(self, name: str) -> Row:
        raw = (SAMPLES / f"{name}.eml").read_bytes().decode()
        return await self._run(
            f"mail-{name}", "mail.classify", Tier.BATCH, lambda doing: self._task(doing, {"raw": raw})
        )

    async def _scrape(self, doing: _Step) -> Any:
        if self._url is not None:
            return await self._task(doing, {"url": self._url})
        async with self._own_page() as url:
            picks = {"title": "h1", "hours": {"css": "#hours li", "all": True}}
            return await self._task(doing, {"url": url, "selectors": picks})

    async def _summary(self, ready: Callable[[], Awaitable[None]]) -> Row:
        """Scrape a page and have the model sum it up: two steps, one submit."""

        async def sum_up(doing: _Step) -> Any:
            await ready()
            if self._url is not None:
                return await self._task(doing, {"url": self._url, "mode": "article"}, SUM_UP)
            async with self._own_page() as url:
                return await self._task(doing, {"url": url, "mode": "article"}, SUM_UP)

        return await self._run("summary", "web.scrape", Tier.REALTIME, sum_up)

    @asynccontextmanager
    async def _own_page(self) -> AsyncIterator[str]:
        """Serve the demo's page, to one step at a time: it has one port."""
        async with self._page_turn, Page((SAMPLES / "page.html").read_bytes(), self._page_port) as page:
            yield page.url

    async def _schedule(self, doing: _Step) -> Any:
        """Schedule a task in a second, and see it fire and succeed."""
        await self._announced("cron.parse")
        asked = datetime.now(UTC)
        made = await self._client.schedule(
            "cron.parse", {"expression": "@daily"}, at=asked + timedelta(seconds=1), tier=doing.tier
        )
        doing.record = made
        try:
            async with asyncio.timeout(PATIENCE):
                # Only REST tells of a schedule's fires.
                while not (fires := (await self._client.schedule_state(made)).fires):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise WaitTimeoutError(f"schedule {made.id} did not fire within {PATIENCE:g} s") from None
        fire = fires[0]
        if fire.task_id is None:
            raise ClientError(f"schedule {made.id} did not make its task: {fire.reason or fire.outcome}")
        doing.latency_ms = round((fire.at - asked).total_seconds() * 1000, 1)
        await self._client.result(fire.task_id, timeout=PATIENCE)
        return {"outcome": fire.outcome, "task": fire.task_id}

    async def _model(self, ready: Callable[[], Awaitable[None]]) -> Row:
        async def ask(doing: _Step) -> Any:
            self._audience.note("the model is asked once it is there; the steps that need none run meanwhile")
            await ready()
            await self._announced(doing.kind)
            self._audience.note(PROMPT)
            doing.began = time.perf_counter()
            answer = self._client.stream(PROMPT, tier=Tier.URGENT, max_tokens=MAX_TOKENS, seed=1)
            doing.tokens = 0
            async with aclosing(answer.frames()) as frames:
                async for frame in frames:
                    if isinstance(frame, Receipt):
                        doing.record = frame
                    if not isinstance(frame, Tokens):
                        continue
                    doing.first_token_ms = doing.first_token_ms or doing.since()
                    doing.tokens += frame.count
                    self._audience.speak(frame.text)
            doing.latency_ms = doing.since()
            return answer.result.value

        return await self._run("model", "llm.chat", Tier.URGENT, ask)


def _status(error: BarnabasError) -> str:
    match error:
        case TaskExpiredError():
            return Status.EXPIRED
        case TaskCancelledError():
            return Status.CANCELLED
        case _:
            return Status.FAILED
