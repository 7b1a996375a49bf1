"""The kinds of tasks, as the services announce them on the topic `kinds`, and payloads held against them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import structlog
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

from connectors import views
from connectors.errors import KindUnknownError, PayloadError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

    from schemas.records import Kind

PATIENCE_SECONDS = 1.0

_log = structlog.get_logger()


class Kinds:
    """All kinds that are announced. Does no I/O: the tail tells it what it reads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Kind, Draft202012Validator]] = {}
        self._views: dict[str, views.Kind] = {}
        self._changed = asyncio.Event()

    def put(self, name: str, record: Kind | None) -> None:
        """Take an announcement; None is a tombstone. One whose schema is none is passed over and logged."""
        if record is None:
            self._known.pop(name, None)
            self._views.pop(name, None)
            return
        try:
            view = views.kind(record)
            Draft202012Validator.check_schema(view.payload_schema)
            _resolve(view.payload_schema)
            validator = Draft202012Validator(view.payload_schema, registry=EMPTY_REGISTRY)
            validator.is_valid({})  # one that is about itself alone never comes to an end
        except Exception as error:  # noqa: BLE001 - someone else wrote it: whatever is wrong with it, other kinds go on
            _log.error("kinds.schema_invalid", kind=name, error=f"{type(error).__name__}: {error}".partition("\n")[0])
            return
        self._known[record.kind] = record, validator
        self._views[record.kind] = view
        self._changed.set()

    async def announced(self, name: str, field: str = "kind") -> Kind:
        """Return a kind, waiting a moment for one that nobody announced yet: its service may just have started.

        Raises:
            KindUnknownError: nobody announces it.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while name not in self._known:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            _log.info("kinds.unknown", kind=name)
        return self.find(name, field)

    def find(self, name: str, field: str = "kind") -> Kind:
        """Return a kind.

        Raises:
            KindUnknownError: nobody announced it.
        """
        try:
            return self._known[name][0]
        except KeyError:
            known = ", ".join(sorted(self._known)) or "none yet: no service has started"
            raise KindUnknownError(f"no service does {name!r}; there are: {known}", field=field) from None

    def check(self, name: str, payload: Any, field: str = "payload") -> None:
        """Hold a payload against its kind's schema.

        Args:
            name: the kind.
            payload: the JSON document.
            field: what the payload's path is called in an error.

        Raises:
            KindUnknownError: nobody announced the kind.
            PayloadError: the payload does not fit; names the field.
        """
        self.find(name)
        try:
            error = best_match(self._known[name][1].iter_errors(payload))
        except Exception as stumbled:  # noqa: BLE001 - numbers without bound and schemas in circles raise anything
            _log.warning("kinds.uncheckable", kind=name, error=type(stumbled).__name__)
            raise PayloadError("can't be held against the schema of its kind", field=field) from None
        if error is not None:
            raise PayloadError(_message(error), field=".".join([field, *_path(error)]))

    def all(self) -> views.Kinds:
        """Return all kinds, by name."""
        return views.Kinds(kinds=[view for _, view in sorted(self._views.items())])


def _resolve(schema: Any) -> None:
    """Follow all references of a schema, without a look outside.

    Raises:
        Unresolvable: one leads nowhere, or to another document.
    """
    root = DRAFT202012.create_resource(schema)
    left = [(EMPTY_REGISTRY.resolver_with_root(root), root)]
    while left:
        resolver, resource = left.pop()
        if isinstance(resource.contents, dict):
            for keyword in ("$ref", "$dynamicRef"):
                if keyword in resource.contents:
                    resolver.lookup(resource.contents[keyword])
        left += [(resolver.in_subresource(inner), inner) for inner in resource.subresources()]


def _path(error: ValidationError) -> list[str]:
    path = [str(part) for part in error.absolute_path]
    required, instance = cast("Any", error.validator_value), cast("Any", error.instance)
    if error.validator == "required":  # the path is the object's, the field is the one that it lacks
        return [*path, next(name for name in required if name not in instance)]
    if error.validator == "additionalProperties" and error.validator_value is False:
        return [*path, min(name for name in instance if name not in _known(error))]
    return path


def _message(error: ValidationError) -> str:
    if error.validator == "required":
        return "is required"
    if error.validator == "additionalProperties" and error.validator_value is False:
        return f"is not known here; there are: {', '.join(sorted(_known(error)))}"
    # The library quotes the value that it refused, whole: the first words say enough.
    return error.message if len(error.message) <= 300 else f"{error.message[:300]}…"


def _known(error: ValidationError) -> dict[str, Any]:
    schema: Any = error.schema
    return dict(schema.get("properties", {}))
