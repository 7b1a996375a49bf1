"""Who is calling: an API key stands for an owner.

A local stack has one key, made at its first start, whose holder owns everything in it. Comparison is in constant time.
"""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from backbone.errors import SettingsError, UnauthenticatedError

if TYPE_CHECKING:
    from pathlib import Path

    from backbone.settings import Settings


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller who has shown who they are."""

    owner: str
    tenant: str


LOCAL = Principal(owner="local", tenant="local")
"""The one who runs a local stack."""


class ApiKeys:
    """The API keys that the edge accepts."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    @classmethod
    def load(cls, settings: Settings) -> ApiKeys:
        """Read the key of a local stack; the first start makes it, unless the settings name a file.

        Raises:
            SettingsError: there is no such file, it can't be made, or it is empty.
        """
        path = settings.api_key_path
        if settings.api_key_file is None:
            make_key(path)
        try:
            key = path.read_text().strip()
        except OSError as error:
            raise SettingsError(
                f"no API key at {path} ({error.strerror}); put one there",
                field="BARNABAS_API_KEY_FILE",
            ) from None
        if not key:
            raise SettingsError(f"the API key file {path} is empty", field="BARNABAS_API_KEY_FILE")
        return cls(key)

    def authenticate(self, authorization: str | None) -> Principal:
        """Return who is calling, by the value of an `Authorization` header (RFC 6750).

        Raises:
            UnauthenticatedError: no bearer token, or one that is not known.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError("send the header `Authorization: Bearer <API key>`", field="Authorization")
        if not hmac.compare_digest(token.strip().encode(), self._key):
            raise UnauthenticatedError("this API key is not known here", field="Authorization")
        return LOCAL


def make_key(path: Path) -> None:
    """Make a key that only its owner may read, unless there is one; of two who do so at once, one makes it.

    Raises:
        SettingsError: its folder can't be written.
    """
    try:
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as new:  # mode 0600
            new.write(f"bk_{secrets.token_urlsafe(32)}\n")
            new.flush()
            with suppress(FileExistsError):
                os.link(new.name, path)
    except OSError as error:
        raise SettingsError(f"no API key can be made at {path}: {error.strerror}", field="BARNABAS_HOME") from None
