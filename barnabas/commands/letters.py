"""The commands about dead letters: `dead-letters list`, `show`, `replay` and `drop`."""

from __future__ import annotations

import sys
import time
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from barnabas import output
from barnabas.commands.listing import Limit, show_list
from barnabas.commands.work import Json, with_client
from barnabas.errors import EdgeError, UsageError
from barnabas.exit_codes import ExitCode
from barnabas.when import read_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from barnabas.client import Client
    from barnabas.replies import DeadLetter

app = typer.Typer(no_args_is_help=True, help="Tasks that failed for good, and records that could not be read.")

PROGRESS_SECONDS = 2.0

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of dead letters; else give filters.")]
KindOption = Annotated[str | None, typer.Option("--kind", help="Only those of tasks of this kind.")]
CodeOption = Annotated[str | None, typer.Option("--code", help="Only those whose error has this code.")]
Since = Annotated[str | None, typer.Option(help="Not older: ISO 8601, or how long ago, such as 2h or 3d.")]
Before = Annotated[str | None, typer.Option(help="Older: likewise.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


class Which(StrEnum):
    """Which letters are listed, by what was done with them."""

    WAITING = "waiting"
    REPLAYED = "replayed"
    DROPPED = "dropped"
    ALL = "all"


@dataclass(frozen=True)
class _Filters:
    """What was typed to choose letters by."""

    kind: str | None
    code: str | None
    since: str | None
    before: str | None

    def read(self) -> dict[str, Any]:
        """Return them as the client takes them.

        Raises:
            UsageError: a time is none.
        """
        now = datetime.now(UTC)
        return {
            "kind": self.kind,
            "code": self.code,
            "since": None if self.since is None else read_time(self.since, now=now, field="since"),
            "before": None if self.before is None else read_time(self.before, now=now, field="before"),
        }

    def __bool__(self) -> bool:
        return any(given is not None for given in (self.kind, self.code, self.since, self.before))


@app.command("list")
def list_letters(
    *,
    kind: KindOption = None,
    code: CodeOption = None,
    since: Since = None,
    before: Before = None,
    status: Annotated[Which, typer.Option(help="By what was done with them.")] = Which.WAITING,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first: those with which nothing was done yet, unless --status says others."""

    async def work(client: Client) -> None:
        wanted = None if status is Which.ALL else status.value
        found = client.dead_letters(status=wanted, **_Filters(kind, code, since, before).read())
        headings = ("dead since", "id", "kind", "tier", "tried", "code", "why", "")
        await show_list(found, headings, _row, limit=limit, as_json=as_json)

    with_client(work, as_json=as_json)


@app.command()
def show(letter: Annotated[str, typer.Argument(help="The dead letter's id.")], *, as_json: Json = False) -> None:
    """Show a dead letter with what it carries, the error of each attempt, and what was done with it."""

    async def work(client: Client) -> None:
        output.value(await client.dead_letter(letter), as_json=as_json)

    with_client(work, as_json=as_json)


@app.command()
def replay(
    letters: Ids = None,
    *,
    kind: KindOption = None,
    code: CodeOption = None,
    since: Since = None,
    before: Before = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Hand dead letters in again, the oldest first, each as a new task, and print the new ids.

    By filters, those are replayed with which nothing was done yet, and by nobody else meanwhile.
    """

    async def one(client: Client, letter: str) -> None:
        receipt = await client.replay(letter, once=not letters)
        if as_json:
            output.line({"letter": letter, "task": receipt.id})
        else:
            output.piece(f"{receipt.id}\n")

    _for_chosen(letters, _Filters(kind, code, since, before), "replay", one, yes=yes, as_json=as_json)


@app.command()
def drop(
    letters: Ids = None,
    *,
    kind: KindOption = None,
    code: CodeOption = None,
    since: Since = None,
    before: Before = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put dead letters aside for good. By filters, those with which nothing was done yet."""

    async def one(client: Client, letter: str) -> None:
        await client.drop(letter)
        if as_json:
            output.line({"dropped": letter})

    _for_chosen(letters, _Filters(kind, code, since, before), "drop", one, yes=yes, as_json=as_json)


def _for_chosen(
    ids: list[str] | None,
    filters: _Filters,
    verb: Literal["replay", "drop"],
    act: Callable[[Client, str], Awaitable[None]],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Do something with the letters that were named, or with those that match and wait, the oldest first."""

    async def work(client: Client) -> None:
        _check(ids, filters, yes=yes, as_json=as_json)
        chosen = ids or [letter.id for letter in await _waiting(client, filters) if _can(verb, letter)]
        await _each(client, [*dict.fromkeys(chosen)], verb, act, ask=not (yes or ids), as_json=as_json)

    with_client(work, as_json=as_json)


def _check(letters: list[str] | None, filters: _Filters, *, yes: bool, as_json: bool) -> None:
    """Refuse what names no letters, or would have to ask where nobody is asked.

    Raises:
        UsageError: says what to give.
    """
    if not letters and not filters:
        raise UsageError("give ids, or at least one of --kind, --code, --since and --before", field="letters")
    if letters and filters:
        raise UsageError("give ids or filters, not both", field="letters")
    if filters and not yes and (as_json or not sys.stdin.isatty()):
        raise UsageError("give --yes: in a pipe or with --json nobody is asked", field="yes")


async def _waiting(client: Client, filters: _Filters) -> list[DeadLetter]:
    """Return the letters with which nothing was done yet, the oldest first."""
    async with aclosing(client.dead_letters(status=Which.WAITING.value, **filters.read())) as letters:
        return [letter async for letter in letters][::-1]


def _can(verb: Literal["replay", "drop"], letter: DeadLetter) -> bool:
    """Whether a letter found by filters is meant: a record that could not be read holds no task to replay."""
    return verb == "drop" or letter.kind is not None


async def _each(
    client: Client,
    letters: list[str],
    verb: str,
    act: Callable[[Client, str], Awaitable[None]],
    *,
    ask: bool,
    as_json: bool,
) -> None:
    """Do something with each letter; one that refuses does not keep the others from it.

    Raises:
        typer.Exit: some refused, and were told.
    """
    if not letters:
        output.note(f"there is none to {verb}")
        return
    if ask:
        typer.confirm(f"{verb.capitalize()} {_count(len(letters))}?", abort=True, err=True)
    refused, said = 0, time.monotonic()
    for number, letter in enumerate(letters):
        if time.monotonic() - said >= PROGRESS_SECONDS:
            output.note(f"{number} of {len(letters)} …")
            said = time.monotonic()
        try:
            await act(client, letter)
        except EdgeError as error:
            if error.retryable or len(letters) == 1:
                raise
            if not as_json:
                output.note(f"{letter}:")
            output.problem(error, as_json=as_json)
            refused += 1
    if len(letters) > 1 and not as_json:
        output.note(f"{verb} of {_count(len(letters))}: {len(letters) - refused} done, {refused} refused")
    if refused:
        raise typer.Exit(int(ExitCode.FAILED))


def _count(number: int) -> str:
    return f"{number} dead letter{'' if number == 1 else 's'}"


def _row(letter: DeadLetter) -> tuple[Any, ...]:
    at = letter.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    done = "" if letter.status == Which.WAITING else letter.status
    return at, letter.id, letter.kind, letter.tier, letter.attempts, letter.error.code, letter.error.message, done
