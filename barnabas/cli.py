"""`barnabas`: the command line. Exit codes are those of `exit_codes`; `docs/cli.md` lists all commands.

Nothing heavy is imported here, so that `--help` and completion answer at once: each command imports what it needs.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from barnabas.commands import blobs, letters, run, schedules, state, work
from barnabas.local import commands as local
from barnabas.usage import Commands

app = typer.Typer(
    name="barnabas",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(run.app)
app.add_typer(local.app)
app.add_typer(work.app)
app.add_typer(blobs.app)
app.add_typer(state.app)
app.add_typer(schedules.app, name="schedule")
app.add_typer(letters.app, name="dead-letters")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"barnabas {version('barnabas-backbone')}")
        raise typer.Exit


@app.callback(no_args_is_help=True)
def common(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """An assistant backbone on Apache Kafka: four priority tiers, streaming inference and a resumable edge."""


def main() -> None:
    """Run the command that was typed."""
    app()
