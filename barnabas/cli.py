"""`barnabas`: the command line. Exit codes are those of `exit_codes`; `docs/cli.md` lists all commands.

Nothing heavy is imported here, so that `--help` and completion answer at once: each command imports what it needs.
"""

from __future__ import annotations

import typer

from barnabas.commands import run, state, work
from barnabas.local import commands as local

app = typer.Typer(
    name="barnabas",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An assistant backbone on Apache Kafka: four priority tiers, streaming inference and a resumable edge.",
)
app.add_typer(run.app)
app.add_typer(local.app)
app.add_typer(work.app)
app.add_typer(state.app)


def main() -> None:
    """Run the command that was typed."""
    app()
