"""The command about blobs: `upload`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from barnabas import output
from barnabas.commands.work import Json, with_client

if TYPE_CHECKING:
    from barnabas.client import Client

app = typer.Typer()


@app.command()
def upload(
    file: Annotated[str, typer.Argument(help="The file; - reads standard input.")], *, as_json: Json = False
) -> None:
    """Upload a file as it is, and print the ref that names it in payloads."""

    async def work(client: Client) -> None:
        from barnabas.blob_calls import pieces  # noqa: PLC0415 - only once it is used

        blob = await client.upload(pieces(sys.stdin.buffer) if file == "-" else Path(file))
        if as_json:
            output.line(blob)
        else:
            output.piece(f"{blob.ref}\n")

    with_client(work, as_json=as_json)
