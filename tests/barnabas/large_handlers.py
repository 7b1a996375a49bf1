"""A kind that takes and gives much, which a test installs in the tiers as a third party's package would."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from schemas.tiers import Tier
from streams.handlers.port import Handler

ROOT = Path(__file__).parents[2]


class Said(BaseModel):
    text: str = ""
    raw: str | None = None
    raw_ref: str | None = None
    times: int = 1


class Heard(BaseModel):
    text: str
    size: int


class Mirror(Handler[Said, Heard]):
    """Say it again."""

    kind = "large.mirror"
    tier = Tier.REALTIME
    payload = Said
    result = Heard

    async def run(self, payload, context):
        said = payload.raw or payload.text
        if payload.raw_ref is not None:
            said = f"{len(await context.blobs.get(payload.raw_ref))} bytes"
        return Heard(text=said * payload.times, size=len(said))


def install(folder: Path) -> str:
    """Lay the metadata of an installed distribution into a folder, and return the path that finds it and this file."""
    info = folder / "barnabas_large_handlers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: barnabas-large-handlers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[barnabas.handlers]\nlarge.mirror = tests.barnabas.large_handlers:Mirror\n")
    return f"{folder}:{ROOT}"
