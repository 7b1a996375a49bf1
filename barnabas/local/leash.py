"""Becomes another program that dies with the supervisor: `leash.py <supervisor's pid> <command> [argument …]`.

Linux kills it when its parent dies, however that dies. Elsewhere the next start ends what was left behind. A program
of its own, because it is not safe to do this between fork and exec of a process that has threads. Standard library
only, so that it costs 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; it survives the exec


def main() -> None:
    """Set the signal, then become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the supervisor was gone before this could start")
    try:
        os.execvp(command[0], command)  # noqa: S606 - the table of processes is ours
    except OSError as error:
        sys.exit(f"{command[0]} can't be started: {error.strerror}")


if __name__ == "__main__":
    main()
