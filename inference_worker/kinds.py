"""What this service says on the `kinds` topic: the kinds it does, and what they take and give."""

from __future__ import annotations

import inspect

import msgspec

from inference_worker.requests import KINDS
from schemas.records import Kind
from schemas.tiers import Tier

SERVICE = "inference_worker"


def announcements() -> list[Kind]:
    """Return the records by which the kinds are announced."""
    return [
        Kind(
            kind=kind,
            tier=Tier.REALTIME,
            service=SERVICE,
            payload_schema=msgspec.json.encode(form.payload.model_json_schema()),
            result_schema=msgspec.json.encode(form.result.model_json_schema()),
            description=(inspect.getdoc(form.payload) or "").partition("\n")[0],
        )
        for kind, form in KINDS.items()
    ]
