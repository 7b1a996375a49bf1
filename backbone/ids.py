"""Ids: UUIDv7 (RFC 9562) for what is new, UUIDv5 for what follows from something, so that a repeat has the same id."""

from __future__ import annotations

import uuid
from typing import Final

import uuid_utils

_NAMESPACE: Final = uuid.UUID("8a0e2f6e-5d0c-5c7e-9b1a-6d1f6f2b7c11")


def new_id() -> str:
    """Return a UUIDv7: unique, and sortable by the time it was made."""
    return str(uuid_utils.uuid7())


def derived_id(*parts: str | int) -> str:
    """Return the UUIDv5 of these parts: the same parts always give the same id."""
    # A part's length goes before it, so that ("ab", "c") and ("a", "bc") differ.
    return str(uuid.uuid5(_NAMESPACE, "".join(f"{len(str(part))}:{part}" for part in parts)))


def fraction_of(*parts: str | int) -> float:
    """Return a number in [0, 1) that is spread evenly over parts and always the same for the same ones."""
    return uuid.UUID(derived_id(*parts)).node / 2**48
