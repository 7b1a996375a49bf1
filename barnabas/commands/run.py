"""`barnabas run`: the first minutes. It starts the stack, runs the demo, and stays up."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from barnabas import output
from barnabas.exit_codes import ExitCode

if TYPE_CHECKING:
    from backbone.settings import Settings
    from barnabas.demo import Row
    from barnabas.local.stack import LocalStack

app = typer.Typer()


@app.command()
def run(
    *,
    once: Annotated[bool, typer.Option("--once", help="Stop after the demo.")] = False,
    url: Annotated[str | None, typer.Option(help="A page to scrape in place of the demo's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the demo as JSON lines.")] = False,
) -> None:
    """Start everything, run the demo, and stay up until Ctrl-C; exit code 1 if a part of the demo failed."""
    began = time.monotonic()
    with output.reported(as_json=as_json):
        from backbone.settings import settings  # noqa: PLC0415 - with Kafka's clients: only once it is used

        code = asyncio.run(_run(settings(), began, once=once, url=url, as_json=as_json))
    raise typer.Exit(code)


async def _run(settings: Settings, began: float, *, once: bool, url: str | None, as_json: bool) -> ExitCode:
    """Keep a stack until it is told to stop; return how the demo went."""
    from barnabas.client import Client  # noqa: PLC0415
    from barnabas.demo import Demo  # noqa: PLC0415
    from barnabas.local.display import Lines  # noqa: PLC0415
    from barnabas.local.foreground import up  # noqa: PLC0415

    until = asyncio.Event()
    code = ExitCode.INTERRUPTED

    async def show(stack: LocalStack) -> None:
        nonlocal code
        started = time.monotonic() - began
        audience = Watching(as_json)
        async with Client(stack.edge_url, stack.home.api_key.read_text(encoding="utf-8").strip()) as client:
            demo = Demo(client, audience, page_port=stack.ports.demo, url=url)
            rows = await demo.run(stack.complete)
        code = ExitCode.OK if all(row.status == "succeeded" for row in rows) else ExitCode.FAILED
        audience.summary(rows)
        _tell(stack, started, audience.first_token - began if audience.first_token else None)
        if once:
            until.set()
        else:
            output.note("Ctrl-C stops it")

    await up(settings, until=until, on_ready=show, display=Lines(sys.stderr))
    return code


class Watching:
    """The demo's audience: a person, or whoever reads JSON lines."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._say = output.note if as_json else lambda text: output.piece(text + "\n")
        self._speaking = False
        self._held: list[str] = []
        self.first_token: float | None = None

    def note(self, text: str) -> None:
        """Hear what is going on."""
        self._tell(text)

    def row(self, row: Row, result: Any) -> None:
        """See a step that is over."""
        if row.kind == "llm.chat" and self._speaking:
            self._speaking = False
            self._say("")
            for text in self._held:
                self._say(text)
        self._tell(
            f"{'✓' if row.status == 'succeeded' else '✗'} {row.step}: {row.error or summary_of(row.kind, result)}"
        )
        if self._as_json:
            output.line(row.line())

    def speak(self, text: str) -> None:
        """Hear a piece of the model's answer."""
        self.first_token = self.first_token or time.monotonic()
        self._speaking = True
        if self._as_json:
            sys.stderr.write(text)
            sys.stderr.flush()
        else:
            output.piece(text)

    def summary(self, rows: list[Row]) -> None:
        """See all steps side by side."""
        if self._as_json:
            return
        output.rows(
            ("kind", "tier", "status", "topic", "part", "offset", "latency"),  # together no wider than a terminal
            [
                (row.kind, row.tier, row.status, row.topic, row.partition, row.offset, milliseconds(row.latency_ms))
                for row in rows
            ],
        )
        for row in rows:
            if row.first_token_ms is not None:
                output.piece(f"first token after {milliseconds(row.first_token_ms)}, {row.tokens} tokens\n")

    def _tell(self, text: str) -> None:
        """Say it, but not into the middle of the model's answer."""
        if self._speaking:
            self._held.append(text)
        else:
            self._say(text)


def milliseconds(value: float | None) -> str | None:
    """Return a duration as people read it."""
    return None if value is None else f"{value:,.0f} ms"


def summary_of(kind: str, result: Any) -> str:
    """Return what a step found, in a line."""
    match kind, result:
        case "cron.parse", {"description": str(meaning), "fires": [first, *_]}:
            said = f"{meaning} Next: {first}"
        case "mail.classify", {"subject": str(subject), "top": str(top)}:
            said = f"{top}: {subject}"
        case "web.scrape", {"data": {"title": title, "hours": [*hours]}}:
            said = f"{title}: {'; '.join(hours)}"
        case "web.scrape", {"finish_reason": _, "text": str(summary)}:  # the end of the chain that began with it
            said = " ".join(summary.split())
        case "web.scrape", {"title": title, "final_url": url}:
            said = f"{title} ({url})"
        case "schedule", {"outcome": str(outcome), "task": task}:
            said = f"{outcome}; its task {task} succeeded"
        case "llm.chat", {"finish_reason": str(reason)}:
            said = f"the answer ended: {reason}"
        case _:
            said = "done"
    return said


def _tell(stack: LocalStack, started: float, first_token: float | None) -> None:
    """Tell a person where everything is, and where the time went."""
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stack.phases)
    output.note(f"where the time went: {phases}")
    output.note(
        f"the stack served after {started:.1f} s"
        + ("" if first_token is None else f", the first token came after {first_token:.1f} s")
    )
    output.note(f"edge: {stack.edge_url}   API docs: {stack.edge_url}/docs   API key: {stack.home.api_key}")
