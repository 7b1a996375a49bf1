"""Where the edge is and the key that opens it: given, in the environment, or left by the stack that runs here.

The client stands without `backbone`, so it reads its own four variables: `BARNABAS_URL`, `BARNABAS_API_KEY`,
`BARNABAS_API_KEY_FILE` and `BARNABAS_HOME`. A local stack's key is only ever sent to this machine.
"""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import platformdirs

from barnabas.errors import CredentialsError, NoStackError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An edge, and the key to it."""

    url: str
    api_key: str = field(repr=False)

    @property
    def websocket(self) -> str:
        """Address of the WebSocket."""
        return f"ws{self.url.removeprefix('http')}/v1/ws"

    @property
    def headers(self) -> dict[str, str]:
        """What each request carries."""
        return {"Authorization": f"Bearer {self.api_key}"}

    @property
    def here(self) -> bool:
        """Whether it is on this machine, where no proxy is to be asked."""
        return _is_loopback(self.url)


def find(url: str | None = None, api_key: str | None = None, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Return the edge to talk to.

    Args:
        url: its address; else `BARNABAS_URL`, else that of the stack that runs in `BARNABAS_HOME`.
        api_key: its key; else `BARNABAS_API_KEY`, else the one in `BARNABAS_API_KEY_FILE`, else the local stack's.
        environ: the environment.

    Raises:
        NoStackError: no address was given and no stack runs here.
        CredentialsError: there is no key for that address.
        UsageError: the address is none of HTTP.
    """
    home = Path(environ.get("BARNABAS_HOME") or platformdirs.user_data_dir("barnabas"))
    address = _checked(url or environ.get("BARNABAS_URL") or _running(home))
    return Endpoint(address, api_key or environ.get("BARNABAS_API_KEY") or _key(address, home, environ))


def _checked(url: str) -> str:
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise UsageError(f"{url!r} is no address of an edge: write it as http://127.0.0.1:8420", field="url")
    return url.rstrip("/")


def _running(home: Path) -> str:
    # Shape and place of the file are those of `barnabas.local.home.Running`; a test holds the two together.
    file = home / "stack.json"
    try:
        url = json.loads(file.read_bytes()).get("edge_url")
    except FileNotFoundError:
        url = None
    except (OSError, ValueError) as error:
        raise NoStackError(f"{file} can't be read ({error}): set BARNABAS_URL, or start a stack anew") from None
    if not url:
        raise NoStackError(f"no stack runs in {home}: start one with `barnabas up`, or set BARNABAS_URL")
    return str(url)


def _key(url: str, home: Path, environ: Mapping[str, str]) -> str:
    given = environ.get("BARNABAS_API_KEY_FILE")
    if not given and not _is_loopback(url):
        raise CredentialsError(f"no API key for {url}: set BARNABAS_API_KEY", field="api_key")
    file = Path(given) if given else home / "api-key"
    try:
        key = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CredentialsError(
            f"no API key at {file} ({error.strerror}): set BARNABAS_API_KEY", field="api_key"
        ) from None
    if not key:
        raise CredentialsError(f"{file} is empty: set BARNABAS_API_KEY", field="api_key")
    return key


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
