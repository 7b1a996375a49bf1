"""The commands about tasks: `submit`, `ask`, `tail`, `cancel` and `kinds`. They speak to the edge, like any client."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from barnabas import output
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from barnabas.client import Client
    from barnabas.replies import Event, Gap, Kind, Receipt, Tokens

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print JSON, also on a terminal.")]
TierOption = Annotated[Tier | None, typer.Option("--tier", "-t", help="The tier; the kind's own by default.")]


@app.command()
def submit(
    kind: Annotated[str, typer.Argument(help="Such as cron.parse; `barnabas kinds` lists all.")],
    payload: Annotated[str, typer.Argument(help="JSON, @file (a mail's too), or - for standard input.")] = "{}",
    *,
    tier: TierOption = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the task's id and don't wait.")] = False,
    timeout: Annotated[float | None, typer.Option(help="The most seconds to wait; the task goes on.")] = None,
    then: Annotated[
        list[str] | None,
        typer.Option(
            help="A step that follows: KIND[@TIER]=PAYLOAD, {{ result.path }} in it is looked up; repeatable."
        ),
    ] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key is the same task.")] = None,
    as_json: Json = False,
) -> None:
    """Hand in a task, with the steps that follow it, wait, and print the result of the last one."""

    async def work(client: Client) -> None:
        from barnabas.payload import read_payload, read_step  # noqa: PLC0415 - only once it is used

        receipt = await client.submit(
            kind,
            await read_payload(payload, kind, client),
            tier=tier,
            idempotency_key=idempotency_key,
            then=[await read_step(text, client) for text in then or ()],
        )
        if no_wait:
            if as_json:
                output.line(receipt)
            else:
                output.piece(f"{receipt.id}\n")
            return
        output.note(f"{receipt.id} accepted: {receipt.topic}/{receipt.partition} @ {receipt.offset}")
        result = await client.result(receipt, timeout=timeout, watch=lambda frame: output.note(told(frame)))
        output.value(result.value, as_json=as_json)

    with_client(work, as_json=as_json)


@app.command()
def ask(
    prompt: Annotated[str, typer.Argument(help="The question; - reads standard input.")],
    *,
    tier: TierOption = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of the answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 always takes the likeliest.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the choice.")] = None,
    as_json: Json = False,
) -> None:
    """Ask the model, and print the answer as it comes."""

    async def work(client: Client) -> None:
        asked = sys.stdin.read() if prompt == "-" else prompt
        answer = client.stream(asked, tier=tier, max_tokens=max_tokens, temperature=temperature, seed=seed)
        try:
            if as_json:
                async with aclosing(answer.frames()) as frames:
                    async for frame in frames:
                        output.line(tagged(frame))
                output.line({"type": "result", "task": answer.receipt.id, "result": answer.result.value})
            else:
                async for text in answer:
                    output.piece(text)
                output.piece("\n")
        except asyncio.CancelledError:
            if answer.accepted:
                task = answer.receipt.id
                output.note(f"\n{task} goes on: `barnabas tail {task}` tells it, `barnabas cancel {task}` stops it")
            raise

    with_client(work, as_json=as_json)


@app.command()
def tail(
    task: Annotated[str | None, typer.Argument(help="A task's id; all of one's own by default.")] = None,
    *,
    conversation: Annotated[str | None, typer.Option(help="All tasks of this conversation.")] = None,
    after: Annotated[
        str | None, typer.Option(help="The cursor of a line that --json printed: what comes after it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what happens: to one task from its beginning until it ends, or to all from now on until Ctrl-C."""

    async def work(client: Client) -> None:
        async with aclosing(client.events(task, conversation=conversation, after=after)) as frames:
            async for frame in frames:
                if output.pretty(as_json):
                    output.piece(told(frame) + "\n")
                else:
                    output.line(tagged(frame))

    with_client(work, as_json=as_json)


@app.command()
def cancel(task: Annotated[str, typer.Argument(help="The task's id.")], *, as_json: Json = False) -> None:
    """Cancel a task, whether it waits or runs."""

    async def work(client: Client) -> None:
        output.value(await client.cancel(task), as_json=as_json)

    with_client(work, as_json=as_json)


@app.command()
def kinds(
    kind: Annotated[str | None, typer.Argument(help="One kind, with its JSON Schemas; all by default.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """List the kinds of tasks that somebody serves, with what they want; or show one whole."""

    async def work(client: Client) -> None:
        known = await client.kinds()
        if kind is not None:
            output.value(_named(kind, known), as_json=as_json)
            return
        if not output.pretty(as_json):
            for one in known:
                output.line(one)
            return
        output.rows(
            ("kind", "tier", "served by", "wants", "does"),
            [(one.kind, one.tier, one.service, wants(one.payload_schema), one.description) for one in known],
        )

    with_client(work, as_json=as_json)


def _named(name: str, known: list[Kind]) -> Kind:
    from barnabas.errors import UnknownKindError  # noqa: PLC0415

    for kind in known:
        if kind.kind == name:
            return kind
    raise UnknownKindError(
        f"nobody serves {name!r}; there are: {', '.join(kind.kind for kind in known) or 'none yet'}", field="kind"
    )


def wants(schema: dict[str, Any]) -> str:
    """Return the fields of a payload in a few words; those that may be left out have a `?`."""
    required = set(schema.get("required", ()))
    return ", ".join(name if name in required else f"{name}?" for name in schema.get("properties", {}))


def tagged(frame: Receipt | Event | Tokens | Gap) -> dict[str, Any]:
    """Return a frame as the WebSocket says it, but for the `ref` of a receipt's."""
    from barnabas.replies import Event, Gap, Receipt  # noqa: PLC0415

    plain: dict[str, Any] = output.plain(frame)
    match frame:
        case Receipt():
            return {"type": "accepted", "task": plain}
        case Event():
            if frame.error is not None:
                plain["error"]["retryable"] = frame.error.retryable  # the edge says it also where it is not
            return {"type": "event", **plain}
        case Gap():
            return {"type": "gap", **plain}
        case _:
            return {"type": "tokens", **plain}


def told(frame: Event | Tokens | Gap) -> str:
    """Return a frame as a line for a person."""
    from barnabas.replies import Event, Gap  # noqa: PLC0415

    if isinstance(frame, Gap):
        what = (
            f"of what happened until {frame.before}" if frame.task is None else f"tokens {frame.index} to {frame.until}"
        )
        return f"{' ' * 12}  {frame.task or 'all'}  the log has no more: {what}"
    if not isinstance(frame, Event):
        return f"{' ' * 12}  {frame.task}  {frame.index:>5} {frame.text!r}"
    where = f"{frame.topic}/{frame.partition} @ {frame.offset}"
    progress = "" if frame.progress is None else f"{frame.progress:.0%} "
    said = frame.error.message if frame.error else frame.note or ""
    at = frame.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    return f"{at}  {frame.task}  {frame.kind} {frame.tier} {frame.status}  {where}  {progress}{said}".rstrip()


def with_client(work: Callable[[Client], Coroutine[None, None, None]], *, as_json: bool) -> None:
    """Run a command with a client; its errors become messages and exit codes."""
    with output.reported(as_json=as_json):
        from barnabas.client import Client  # noqa: PLC0415 - with httpx: only once it is used

        async def run() -> None:
            async with Client() as client:
                await work(client)

        asyncio.run(run())
