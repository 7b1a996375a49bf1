"""What tests have run in a worker: by name, as a worker imports it."""

from __future__ import annotations

import os
import signal
import sys

NESTED = "//i[count(//i[count(//i[count(//i)>1])>1])>1]"
"""Takes some 10^10 steps of C on `ITALICS`."""
ITALICS = "<i>x</i>" * 3000


class StubbornError(Exception):
    """Can't be unpickled."""

    def __init__(self, one, *, two):
        super().__init__(one)


def double(number):
    return 2 * number


def spin():
    while True:
        pass


def backtrack():
    import re

    re.match("^(a+)+$", "a" * 60 + "b")


def hoard():
    return [bytearray(2**20) for _ in range(4096)]


def big():
    return b"x" * (20 * 2**20)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    sys.exit(3)


def stubborn():
    raise StubbornError("a", two="b")


def shut_up():
    """Ignore what can be ignored, and stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    spin()


def missing():
    raise KeyError("here")


def nothing_heavy():
    heavy = {"pydantic", "httpx", "redis", "faust", "aiokafka", "lxml", "torch", "numpy"}
    return heavy & set(sys.modules)
