"""The AsyncAPI document of the live protocol, made of the frames themselves (AsyncAPI 3.0.0)."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from connectors import frames

PATH = "/v1/ws"


def document() -> dict[str, Any]:
    """Return what a client may say on the WebSocket, and what it is told."""
    said, told = get_args(frames.FromClient), get_args(frames.ToClient)
    _, schemas = msgspec.json.schema_components((*said, *told), ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Barnabas, live",
            "version": "1",
            "description": "JSON text frames on a WebSocket. Fields may be added: ignore what you don't know.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "live": {
                "address": PATH,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in map(_name, (*said, *told))},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        # As AsyncAPI has it, from the edge's side.
        "operations": {
            "said": _operation("receive", "What a client says.", said),
            "told": _operation("send", "What a client is told.", told),
        },
        "components": {
            "messages": {
                _name(frame): {
                    "title": _name(frame),
                    "summary": (frame.__doc__ or "").partition("\n")[0],
                    "payload": {"$ref": f"#/components/schemas/{frame.__name__}"},
                }
                for frame in (*said, *told)
            },
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _name(frame: type[msgspec.Struct]) -> str:
    return str(frame.__struct_config__.tag)


def _operation(action: str, summary: str, of: tuple[type[msgspec.Struct], ...]) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/live"},
        "security": [{"$ref": "#/components/securitySchemes/bearer"}],
        "messages": [{"$ref": f"#/channels/live/messages/{_name(frame)}"} for frame in of],
    }
