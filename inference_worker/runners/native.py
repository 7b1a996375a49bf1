"""The kernels: compiled once for this machine by its own C compiler, kept on disk, and called without Python's lock.

A compilation runs in a process of its own (`python -m inference_worker.runners.native LIBRARY`) that lets others go
first. Who loads a model waits for it about as long as it takes on an idle machine; after that the model runs in another
format, the compilation goes on beside it, and the next load finds it. Without a compiler there are no kernels.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import structlog

_SOURCES: Final = Path(__file__).parent / "kernels"
_COMPILERS: Final = ("cc", "gcc", "clang")
_FLAGS: Final = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC", "-std=gnu11")
_SPINS: Final = "500"
"""Turns, 10 us or so, for which a thread of the team waits awake for the others."""

_log = structlog.get_logger()


def kernels(cache: Path, *, wait: float) -> ctypes.CDLL | None:
    """Return the kernels of this machine; None if there are none yet, or can't be any.

    Args:
        cache: folder of what was compiled.
        wait: seconds for which a compilation is waited for.
    """
    compiler = _compiler()
    if compiler is None:
        _log.info("kernels.no_compiler")
        return None
    library = cache / f"llama-{_key(compiler)}.so"
    if not library.exists():
        process = subprocess.Popen(  # noqa: S603 - this module
            [sys.executable, "-m", __name__, str(library)], start_new_session=True, stdin=subprocess.DEVNULL
        )
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            _log.info("kernels.not_compiled_yet")
    if not library.exists():
        return None
    # A team that waits long for one another holds the cores that its members wait for: 50 times slower with a neighbour.
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    return ctypes.CDLL(str(library))


def compile_to(library: Path) -> None:
    """Compile the kernels; the file is there when it is whole.

    Raises:
        subprocess.CalledProcessError: the compiler refused.
    """
    compiler = _compiler()
    if compiler is None:
        raise FileNotFoundError(f"none of the compilers {', '.join(_COMPILERS)}")
    library.parent.mkdir(parents=True, exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}")
    try:
        subprocess.run([compiler, *_FLAGS, "-o", str(partial), str(_SOURCES / "llama.c"), "-lm"], check=True)  # noqa: S603
        partial.replace(library)
    finally:
        partial.unlink(missing_ok=True)


def _compiler() -> str | None:
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def _key(compiler: str) -> str:
    """Return what a compiled file depends on: sources, compiler, flags and processor."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout  # noqa: S603
    parts = [file.read_bytes() for file in sorted(_SOURCES.iterdir())]
    return hashlib.sha256(b"\0".join([*parts, version, " ".join(_FLAGS).encode(), _processor()])).hexdigest()[:16]


def _processor() -> bytes:
    """Return the processor's name and instructions, where the operating system tells them."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return f"{platform.machine()} {platform.processor()}".encode()
    told = (b"model name", b"flags", b"Features", b"CPU part")
    return b"\n".join(sorted({line for line in info.read_bytes().splitlines() if line.startswith(told)}))


if __name__ == "__main__":
    os.nice(19)
    compile_to(Path(sys.argv[1]))
