"""The peers: llama.cpp's server from the prebuilt wheel, and built for this processor, with the model in Q4_1 and Q8_0.

Each gets as many threads as ours, as many slots as there are streams, batches them continuously, and keeps no prompt.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.inference.server import HOST, Server

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.inference.native import Native

THREADS: Final = 2
CONTEXT: Final = 256
"""Tokens of a slot."""


class Peer(NamedTuple):
    """A peer.

    Attributes:
        server: its process.
        model: the file that it reads.
    """

    server: Server
    model: Path

    def forget(self) -> None:
        """Have the operating system drop the model from its memory, as if the machine had just started."""
        with self.model.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peers(model: Path, native: Native | None, folder: Path) -> list[Peer]:
    """Return the peers.

    Args:
        model: in Q4_1.
        native: llama.cpp as built for this processor, where it was.
        folder: for their logs.
    """
    found = [_peer("llama.cpp (wheel), Q4_1", partial(_wheel, model), model, folder / "wheel.log")]
    if native:
        for name, weights in (("Q4_1", model), ("Q8_0", native.q8(model))):
            command = partial(_native, native.server, weights)
            found.append(_peer(f"llama.cpp (native), {name}", command, weights, folder / f"native-{name}.log"))
    return found


def _peer(name: str, command: partial[list[str]], model: Path, log: Path) -> Peer:
    return Peer(Server(name, command, {}, log), model)


def _wheel(model: Path, port: int, streams: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.inference.wheel_server", str(model), str(port), str(streams)]


def _native(server: Path, model: Path, port: int, streams: int) -> list[str]:
    return [
        *(str(server), "--model", str(model), "--host", HOST, "--port", str(port), "--offline"),
        *("--threads", str(THREADS), "--threads-batch", str(THREADS)),
        *("--parallel", str(streams), "--ctx-size", str(streams * CONTEXT), "--cont-batching"),
        *("--no-cache-prompt", "--cache-ram", "0"),
    ]
