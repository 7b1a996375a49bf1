"""The commands of the local stack: `up`, `down`, `reset`, `backup`, `restore`.

What a person reads goes to standard error; with `--json`, standard output gets one JSON object.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbone.settings import settings as read_settings
from barnabas import output
from barnabas.errors import UsageError
from barnabas.local import backup as backups
from barnabas.local import control
from barnabas.local.display import display_for
from barnabas.local.home import Home
from barnabas.local.log import Log
from barnabas.usage import Commands

if TYPE_CHECKING:
    from backbone.settings import Settings
    from barnabas.local.home import Running
    from barnabas.local.stack import LocalStack

app = typer.Typer(cls=Commands, no_args_is_help=True, help="The stack on this machine.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


@app.command()
def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Go on in the background.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Start this process alone, or these: give it again for each.")
    ] = None,
    log: Annotated[Path | None, typer.Option(hidden=True, help="Keep here what it says, in bounds.")] = None,
    as_json: Json = False,
) -> None:
    """Start Kafka, Valkey and all services, and keep them until Ctrl-C (a second one ends them at once)."""
    with Log(log).keeping() if log else nullcontext(), output.reported(as_json=as_json):
        settings = read_settings()
        home = Home(settings.home)
        if detach:
            running = control.up_detached(settings, home, sys.stderr, only=only)
            _ready(running, as_json=as_json)
            return

        from barnabas.local.foreground import up as stay  # noqa: PLC0415 - every other command starts fast without it

        async def on_ready(stack: LocalStack) -> None:
            if running := stack.home.read_running():
                _ready(running, as_json=as_json)

        asyncio.run(stay(settings, display=display_for(), on_ready=on_ready, only=only))


@app.command()
def down(*, as_json: Json = False) -> None:
    """Stop the stack that runs in the background or in another terminal."""
    with output.reported(as_json=as_json):
        pid = control.down(Home(read_settings().home))
        _say(f"stopped (process {pid})", {"stopped": pid}, as_json)


@app.command()
def reset(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    keep_models: Annotated[bool, typer.Option(help="Keep the converted models.")] = False,
    as_json: Json = False,
) -> None:
    """Delete all data of the stack, its API key too."""
    with output.reported(as_json=as_json):
        if as_json and not yes:
            raise UsageError("give --yes: with --json nobody is asked", field="yes")
        home = Home(read_settings().home)
        if not yes:
            typer.confirm(f"Delete all that {home.path} holds?", abort=True, err=True)
        backups.reset(home, keep=(home.models.name,) if keep_models else ())
        _say(f"{home.path} is empty", {"reset": str(home.path)}, as_json)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write, such as barnabas.tar.gz.")],
    *,
    force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write all data to a file (the API key too: keep it safe). The stack must be down."""
    with output.reported(as_json=as_json):
        settings = read_settings()
        files = backups.backup(Home(settings.home), file, force=force)
        size = file.stat().st_size
        told = f"{file}: {files} files, {size / 1e6:.1f} MB"
        left_out = [f"{of}, which {variable} names" for variable, of in _elsewhere(settings).items()]
        if left_out:
            told += f"\nnot in it: the data of {' and of '.join(left_out)}; back them up where they are"
        data = {"file": str(file), "files": files, "bytes": size, "left_out": left_out}
        _say(told, data, as_json)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    *,
    force: Annotated[bool, typer.Option(help="Replace the data that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Bring back all data from a backup. The stack must be down."""
    with output.reported(as_json=as_json):
        home = Home(read_settings().home)
        files = backups.restore(file, home, force=force)
        _say(f"{home.path}: {files} files", {"home": str(home.path), "files": files}, as_json)


def _elsewhere(settings: Settings) -> dict[str, str]:
    """Return what keeps data in no home, by the variable that names it."""
    from barnabas.local import processes  # noqa: PLC0415 - with Kafka's clients: only once it is used

    found = {}
    if not processes.embeds_kafka(settings):
        found["BARNABAS_KAFKA_BOOTSTRAP"] = "a Kafka of yours"
    if not processes.embeds_valkey(settings):
        found["BARNABAS_REDIS_URL"] = "a Redis or Valkey of yours"
    if settings.blob_url:
        found["BARNABAS_BLOB_URL"] = "a blob store of yours"
    return found


def _ready(running: Running, *, as_json: bool) -> None:
    _say(f"ready at {running.edge_url or running.kafka_bootstrap}", running.told(), as_json)


def _say(text: str, data: Any, as_json: bool) -> None:
    if as_json:
        output.line(data)
    else:
        output.note(text)  # not by typer, which would write through the live table
