"""The commands that look and change nothing: `doctor` and `topics`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from barnabas import output
from barnabas.exit_codes import ExitCode

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print JSON, also on a terminal.")]


@app.command()
def doctor(*, as_json: Json = False) -> None:
    """Look at all that a stack needs, and say what to do about what is not well; exit code 1 if anything is not."""
    with output.reported(as_json=as_json):
        from backbone.settings import settings  # noqa: PLC0415 - with Kafka's clients: only once it is used
        from barnabas.doctor import examine  # noqa: PLC0415

        checks = asyncio.run(examine(settings()))
    if as_json:
        for check in checks:
            output.line(check)
    else:
        output.rows(
            ("", "checked", "found", "what to do"),
            [("✓" if one.ok else "✗", one.name, one.detail, one.way_out) for one in checks],
        )
    if not all(check.ok for check in checks):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def topics(*, as_json: Json = False) -> None:
    """List the topics: what they hold, how much, and how far each group is behind."""
    with output.reported(as_json=as_json):
        from backbone.settings import settings  # noqa: PLC0415
        from barnabas.topics import read, where  # noqa: PLC0415

        found = read(where(settings()))
    if not output.pretty(as_json):
        for topic in found:
            output.line(topic)
        return
    output.rows(
        ("topic", "holds", "kept", "partitions", "written", "there", "lag of each group"),
        [
            (
                *(topic.name, topic.record, topic.cleanup, topic.partitions, topic.end_offsets, topic.kept),
                ", ".join(f"{group}: {behind}" for group, behind in topic.lag.items()),
            )
            for topic in found
        ],
    )
