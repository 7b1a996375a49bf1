"""llama.cpp built for this very processor, from the source that `llama-cpp-python` carries: the peer at its best.

The prebuilt wheel takes no more than AVX2 for granted. The build takes some minutes, once: what it makes is kept in the
cache folder, for this version, compiler and processor.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.report import say

VERSION: Final = "0.3.36"
SOURCE: Final = (
    f"llama-cpp-python=={VERSION} --hash=sha256:832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
)
TARGETS: Final = ("llama-server", "llama-quantize")
OPTIONS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
WITHOUT_AMX: Final = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
"""With its AMX kernels this version crashes where GCC 12 compiles it."""


class Native(NamedTuple):
    """What was built.

    Attributes:
        server: the program `llama-server`.
        quantize: the program `llama-quantize`.
        folder: theirs, which is kept.
    """

    server: Path
    quantize: Path
    folder: Path

    def q8(self, model: Path) -> Path:
        """Return this model's weights in Q8_0: made once, by llama.cpp's own program."""
        made = self.folder / f"{model.stem}.Q8_0.gguf"
        if not made.exists():
            partial = made.with_suffix(".part")
            _run([self.quantize, "--allow-requantize", model, partial, "Q8_0"], self.folder / "quantize.log")
            partial.replace(made)
        return made


def native(cache: Path) -> Native | None:
    """Return llama.cpp as built for this processor, building it first if need be; None where that can't be.

    Args:
        cache: a folder to keep it in.

    Raises:
        RuntimeError: the source does not come, or the build fails.
    """
    compiler = shutil.which("c++")
    if compiler is None or not shutil.which("cmake") or find_spec("pip") is None:
        say("no compiler, CMake or pip: llama.cpp is measured as the wheel has it, and not as built for this processor")
        return None
    folder = cache / f"llama.cpp-{VERSION}-{_key(compiler)}"
    programs = [folder / "bin" / name for name in TARGETS]
    if not all(program.exists() for program in programs):
        folder.mkdir(parents=True, exist_ok=True)
        _build(folder)
    server, quantize = programs
    return Native(server, quantize, folder)


def _build(folder: Path) -> None:
    say(f"llama.cpp is built for this processor, once: several minutes; its output is in {folder / 'build.log'}")
    log = folder / "build.log"
    with tempfile.TemporaryDirectory(prefix="barnabas-llama-") as work:
        wanted = Path(work) / "source.txt"
        wanted.write_text(SOURCE)
        fetch: list[str | Path] = [
            "download",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--require-hashes",
            "-r",
            wanted,
            "-d",
            work,
        ]
        _run([sys.executable, "-m", "pip", *fetch], log)
        with tarfile.open(next(Path(work).glob("*.tar.gz"))) as archive:
            archive.extractall(work, filter="data")
        source = next(Path(work).glob("llama_cpp_python-*/vendor/llama.cpp"))
        ninja = ("-G", "Ninja") if shutil.which("ninja") else ()
        x86 = platform.machine().lower() in {"x86_64", "amd64"}
        flags = [f"-DCMAKE_{language}_FLAGS={WITHOUT_AMX}" for language in ("C", "CXX")] if x86 else []
        _run(["cmake", "-S", source, "-B", folder, *ninja, *OPTIONS, *flags], log)
        _run(["cmake", "--build", folder, "--parallel", "--target", *TARGETS], log)


def _run(command: list[str | Path], log: Path) -> None:
    with log.open("ab") as file:
        done = subprocess.run(command, stdout=file, stderr=file, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed with {done.returncode}; the end of {log}:\n{log.read_text()[-2000:]}")


def _key(compiler: str) -> str:
    """Return what a build depends on: compiler, options and processor."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))} or set(lines[:1]))
    return hashlib.sha256("\n".join([*OPTIONS, version.decode(), *told]).encode()).hexdigest()[:12]
