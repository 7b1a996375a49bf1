"""The commands about schedules: `schedule add`, `list`, `show`, `pause`, `resume`, `remove` and `history`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from barnabas import output
from barnabas.commands.listing import Limit, show_list
from barnabas.commands.work import Json, TierOption, with_client
from barnabas.duration import read_duration, told
from barnabas.errors import UsageError

if TYPE_CHECKING:
    from barnabas.client import Client
    from barnabas.replies import Fire, Schedule

app = typer.Typer(no_args_is_help=True, help="Tasks that are made later, or again and again.")

Id = Annotated[str, typer.Argument(help="The schedule's id.")]


class Misfire(StrEnum):
    """What becomes of slots that passed while nothing ran."""

    FIRE_ONCE = "fire_once"
    CATCH_UP = "catch_up"
    SKIP = "skip"


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="Such as cron.parse; `barnabas kinds` lists all.")],
    payload: Annotated[str, typer.Argument(help="JSON, @file (a mail's too), or - for standard input.")] = "{}",
    *,
    when: Annotated[str | None, typer.Option(help='In English: "every weekday at 8", "in 20 minutes".')] = None,
    at: Annotated[str | None, typer.Option(help="Once: ISO 8601 with an offset, 2026-12-24T12:00+01:00.")] = None,
    cron: Annotated[str | None, typer.Option(help='A cron expression: "0 8 * * MON-FRI".')] = None,
    every: Annotated[str | None, typer.Option(help="Again and again with this pause: 15m, 1h30m, 2d.")] = None,
    tz: Annotated[str | None, typer.Option(help="The zone of --when and --cron; UTC by default.")] = None,
    tier: TierOption = None,
    jitter: Annotated[str | None, typer.Option(help="Each slot is late by up to this: 30s, 5m.")] = None,
    misfire: Annotated[
        Misfire | None, typer.Option(help="What becomes of slots that passed while nothing ran.")
    ] = None,
    catch_up_limit: Annotated[int | None, typer.Option(min=1, help="With catch_up: how many; 100 by default.")] = None,
    max_late: Annotated[str | None, typer.Option(help="A slot that is later than this is skipped: 10m, 2h.")] = None,
    identity: Annotated[str | None, typer.Option("--id", help="The same id replaces a schedule of one's own.")] = None,
    as_json: Json = False,
) -> None:
    """Make a task later, or again and again; say what was understood, and print the schedule's id."""

    async def work(client: Client) -> None:
        from barnabas.payload import read_payload  # noqa: PLC0415 - only once it is used

        times = _times(when=when, at=at, cron=cron, every=every, jitter=jitter, max_late=max_late)
        schedule = await client.schedule(
            kind,
            await read_payload(payload, kind, client),
            **times,
            tz=tz,
            tier=tier,
            misfire=misfire and misfire.value,
            catch_up_limit=catch_up_limit,
            id=identity,
        )
        zone = _zone(tz)
        output.note(f"understood: {schedule.when}")
        if tz is None and (when is not None or cron is not None):
            output.note("no --tz was given: times are those of UTC")
        for number, slot in enumerate(schedule.upcoming):
            output.note(f"{'next:' if number == 0 else '':<12}{_in(slot, zone)}")
        if as_json:
            output.line(schedule)
        else:
            output.piece(f"{schedule.id}\n")

    with_client(work, as_json=as_json)


@app.command("list")
def list_schedules(*, limit: Limit = 50, as_json: Json = False) -> None:
    """List the schedules that are still to fire, the newest first."""

    async def work(client: Client) -> None:
        headings = ("id", "what", "when", "next", "last", "")
        await show_list(client.schedules(), headings, _row, limit=limit, as_json=as_json)

    with_client(work, as_json=as_json)


@app.command()
def show(schedule: Id, *, as_json: Json = False) -> None:
    """Show a schedule with its next slots and its latest fires."""

    async def work(client: Client) -> None:
        output.value(await client.schedule_state(schedule), as_json=as_json)

    with_client(work, as_json=as_json)


@app.command()
def pause(schedule: Id, *, as_json: Json = False) -> None:
    """Let a schedule fire no more until it is resumed."""

    async def work(client: Client) -> None:
        paused = await client.pause_schedule(schedule)
        if as_json:
            output.line(paused)
        else:
            output.note(f"{paused.id} is paused: `barnabas schedule resume {paused.id}` lets it go on")

    with_client(work, as_json=as_json)


@app.command()
def resume(schedule: Id, *, as_json: Json = False) -> None:
    """Let a schedule that was paused fire again; the slots that it had meanwhile are skipped."""

    async def work(client: Client) -> None:
        resumed = await client.resume_schedule(schedule)
        if as_json:
            output.line(resumed)
        else:
            output.note(
                f"{resumed.id} goes on" + (f", next {_in(resumed.next, _zone(resumed.tz))}" if resumed.next else "")
            )

    with_client(work, as_json=as_json)


@app.command()
def remove(schedules: Annotated[list[str], typer.Argument(help="Ids of schedules.")], *, as_json: Json = False) -> None:
    """Remove schedules; what they have made goes on."""

    async def work(client: Client) -> None:
        for schedule in schedules:
            await client.unschedule(schedule)
            if as_json:
                output.line({"removed": schedule})
            else:
                output.note(f"{schedule} is removed")

    with_client(work, as_json=as_json)


@app.command()
def history(schedule: Id, *, limit: Limit = 50, as_json: Json = False) -> None:
    """Show what became of a schedule's slots, the newest first; skipped ones by their range."""

    async def work(client: Client) -> None:
        zone = _zone((await client.schedule_state(schedule)).tz) if output.pretty(as_json) else None
        headings = ("slot", "to", "outcome", "task")
        fires = client.schedule_history(schedule)
        await show_list(fires, headings, lambda fire: _fire(fire, zone), limit=limit, as_json=as_json)

    with_client(work, as_json=as_json)


def _times(
    *, when: str | None, at: str | None, cron: str | None, every: str | None, jitter: str | None, max_late: str | None
) -> dict[str, Any]:
    """Return what was typed about when, as the client takes it.

    Raises:
        UsageError: not exactly one of them was given, or one makes no sense.
    """
    given = [
        name for name, value in (("when", when), ("at", at), ("cron", cron), ("every", every)) if value is not None
    ]
    if len(given) != 1:
        found = " and ".join(f"--{name}" for name in given) or "none of them"
        raise UsageError(
            f"give exactly one of --when, --at, --cron and --every, found {found}", field=(given or ["when"])[-1]
        )
    return {
        "when": when,
        "at": None if at is None else _moment(at),
        "cron": cron,
        "every": None if every is None else read_duration(every, field="every"),
        "jitter": None if jitter is None else read_duration(jitter, field="jitter"),
        "max_late": None if max_late is None else read_duration(max_late, field="max_late"),
    }


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 2026-12-24T12:00+01:00", field="at") from None
    if moment.tzinfo is None:
        raise UsageError(
            f"{text!r} has no offset; write {moment.isoformat()}Z or {moment.isoformat()}+01:00, "
            "or --when '24 December at noon' --tz Europe/Berlin",
            field="at",
        )
    return moment


def _zone(name: str | None) -> ZoneInfo | None:
    """Return a zone; None for UTC, and where this machine does not know what the edge does."""
    try:
        return ZoneInfo(name) if name else None
    except ZoneInfoNotFoundError:
        return None


def _in(moment: datetime, zone: ZoneInfo | None) -> str:
    return moment.astimezone(zone or UTC).strftime("%a %Y-%m-%d %H:%M:%S %Z")


def _row(schedule: Schedule) -> tuple[Any, ...]:
    zone = _zone(schedule.tz)
    return (
        schedule.id,
        schedule.task and schedule.task.kind,
        schedule.when,
        schedule.next and _in(schedule.next, zone),
        schedule.last and f"{outcome(schedule.last)} {_in(schedule.last.slot, zone)}",
        "" if schedule.enabled else "paused",
    )


def _fire(fire: Fire, zone: ZoneInfo | None) -> tuple[Any, ...]:
    return _in(fire.slot, zone), fire.to and _in(fire.to, zone), outcome(fire), fire.task_id


def outcome(fire: Fire) -> str:
    """Return `fired`, `late by 3s` or `skipped: missed` with how many."""
    if fire.outcome == "late" and fire.late_by_ms is not None:
        return f"late by {told(timedelta(milliseconds=fire.late_by_ms))}"
    if fire.outcome == "skipped":
        return f"skipped: {fire.reason} \N{MULTIPLICATION SIGN}{fire.count}"
    return fire.outcome
