"""`python -m inference_worker.models.convert MODEL`: turns a model's source into a folder that loads in a second.

Runs as a process of its own, so that its memory goes when it is done. A lock lets only one run at a time; the folder
is written beside its place and renamed last, so a killed conversion leaves nothing half. Progress is one JSON line a
step on standard output.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import msgspec

from backbone.settings import settings
from inference_worker.models import catalog, files, safetensors_file
from inference_worker.models.gguf_llama import GgufLlama
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt


def convert(model: str, models: Path, report: Callable[[float], None]) -> Path:
    """Convert a model of the catalog into `models/<model>`, unless that has been done.

    Args:
        model: id of a model in the catalog.
        models: the folder of all models.
        report: called with the fraction done, 0 to 1.

    Returns:
        The model's folder.

    Raises:
        ModelNotFoundError: the catalog has no such model, or its source is not installed.
        ConversionError: the source is not what it should be.
    """
    source = catalog.source(model)
    folder, partial = models / model, models / f".{model}.partial"
    models.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(models / f".{model}.lock"):
        done = files.read_manifest(folder)
        if done and done.source == source.name:
            return folder
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _write(GgufLlama(source.file), partial, report)
        entries = {file.name: files.describe(file) for file in sorted(partial.iterdir())}
        manifest = files.Manifest(model, source.name, entries, files.overall_digest(entries))
        (partial / files.MANIFEST).write_bytes(_json(msgspec.to_builtins(manifest)))
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    report(1.0)
    return folder


def _write(source: GgufLlama, folder: Path, report: Callable[[float], None]) -> None:
    (folder / files.CONFIG).write_bytes(_json(source.config()))
    (folder / files.TOKENIZER).write_text(source.tokenizer(), encoding="utf-8")
    (folder / files.TOKENIZER_CONFIG).write_bytes(_json(source.tokenizer_config()))
    shapes = source.shapes()

    def weights() -> Iterator[npt.NDArray[np.float32]]:
        for done, values in enumerate(source.weights(), start=1):
            yield values
            report(0.95 * done / len(shapes))

    safetensors_file.write(folder / files.WEIGHTS, shapes, weights())


def _json(value: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert the model that the command line names; exit code 0 when it is there."""
    parser = argparse.ArgumentParser(prog="python -m inference_worker.models.convert", description=main.__doc__)
    parser.add_argument("model", help=f"one of: {', '.join(catalog.SOURCES)}")
    parser.add_argument("--models", type=Path, help="the folder of all models; by default the one of the settings")
    told = -1
    options = parser.parse_args(arguments)

    def report(fraction: float) -> None:
        """Write a line at each whole percent at most."""
        nonlocal told
        if (percent := int(100 * fraction)) == told:
            return
        told = percent
        sys.stdout.write(msgspec.json.encode({"fraction": percent / 100}).decode() + "\n")
        sys.stdout.flush()

    try:
        convert(options.model, options.models or settings().models_path, report)
    except BarnabasError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
