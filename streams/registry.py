"""The handlers that are installed: the entry-point group `barnabas.handlers`."""

from __future__ import annotations

import inspect
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import msgspec

from backbone.errors import SettingsError
from schemas.records import Kind
from streams.handlers.port import Handler

if TYPE_CHECKING:
    from backbone.settings import Settings

GROUP = "barnabas.handlers"
SERVICE = "streams"


def load(settings: Settings) -> dict[str, Handler[Any, Any]]:
    """Return an instance of each installed handler, by kind.

    Raises:
        SettingsError: none is installed, two serve one kind, an entry point is no handler, or its name isn't the kind that
            its class serves.
    """
    handlers: dict[str, Handler[Any, Any]] = {}
    for point in entry_points(group=GROUP):
        found = point.load()
        if not (inspect.isclass(found) and issubclass(found, Handler)):
            raise SettingsError(f"{point.value} is no subclass of streams.handlers.port.Handler", field=point.name)
        if found.kind != point.name:
            raise SettingsError(f"{point.value} serves the kind {found.kind!r}, not {point.name!r}", field=point.name)
        if (other := handlers.get(found.kind)) is not None and type(other) is not found:
            both = f"{type(other).__module__} and {found.__module__}"
            raise SettingsError(f"{both} both serve it: uninstall one of the two packages", field=point.name)
        handlers[found.kind] = found(settings)
    if not handlers:
        raise SettingsError(
            "no handler is installed: install the distribution, whose entry points name them", field=GROUP
        )
    return handlers


def announcement(handler: Handler[Any, Any]) -> Kind:
    """Return the record by which a kind is announced."""
    return Kind(
        kind=handler.kind,
        tier=handler.tier,
        service=SERVICE,
        payload_schema=msgspec.json.encode(handler.payload.model_json_schema()),
        result_schema=msgspec.json.encode(handler.result.model_json_schema(mode="serialization")),
        description=(inspect.getdoc(type(handler)) or "").partition("\n")[0],
    )
