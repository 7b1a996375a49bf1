"""Who is calling: an API key stands for an owner.

A local stack has one key, made at its first start, whose holder owns everything in it. Comparison is in constant time.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone.errors import SettingsError, UnauthenticatedError

if TYPE_CHECKING:
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
        """Read the key of a local stack.

        Raises:
            SettingsError: there is no such file, or it is empty.
        """
        path = settings.api_key_path
        try:
            key = path.read_text().strip()
        except OSError as error:
            raise SettingsError(
                f"no API key at {path} ({error.strerror}); `barnabas up` makes one, or put one there",
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
