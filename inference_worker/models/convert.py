"""`python -m inference_worker.models.convert MODEL`: turns a model's source into a folder that loads in a second.

Runs as a process of its own, so that its memory goes when it is done. Only one runs at a time: a worker's under the
worker's lease, one by hand, which needs no Redis, under a lock of this machine. The folder is written beside its place
and renamed last, so a killed conversion leaves nothing half. Progress is one JSON line a step on standard output.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from filelock import FileLock

from backbone.fence import fenced
from backbone.settings import settings
from inference_worker.models import catalog, files, safetensors_file
from inference_worker.models.gguf_llama import GgufLlama
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt


def convert(model: str, models: Path, report: Callable[[float], None], fence: int | None = None) -> Path:
    """Convert a model of the catalog into `models/<model>`, unless that has been done.

    Args:
        model: id of a model in the catalog.
        models: the folder of all models.
        report: called with the fraction done, 0 to 1.
        fence: number of the lease under which the caller has this done; None keeps others of this machine out.

    Returns:
        The model's folder.

    Raises:
        ModelNotFoundError: the catalog has no such model, or its source is not installed.
        ConversionError: the source is not what it should be.
        StaleFenceError: the lease was lost, and a later holder is at it.
    """
    source = catalog.source(model)
    folder = models / model
    models.mkdir(parents=True, exist_ok=True)
    with FileLock(models / f".{model}.by-hand.lock") if fence is None else nullcontext():
        if _is_of(folder, source):
            return folder
        with fenced(folder, fence):  # from here on nobody with an earlier lease renames what is emptied here
            partial = _emptied(models, model, fence)
        _write(GgufLlama(source.file), partial, report)
        entries = {file.name: files.describe(file) for file in sorted(partial.iterdir())}
        manifest = files.Manifest(model, source.name, entries, files.overall_digest(entries))
        (partial / files.MANIFEST).write_bytes(_json(msgspec.to_builtins(manifest)))
        with fenced(folder, fence):
            if _is_of(folder, source):  # made by hand and by a worker at once: the same files twice
                shutil.rmtree(partial)
            else:
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
    report(1.0)
    return folder


def _is_of(folder: Path, source: catalog.Source) -> bool:
    """Whether a folder holds what this source is converted into."""
    done = files.read_manifest(folder)
    return done is not None and done.source == source.name


def _emptied(models: Path, model: str, fence: int | None) -> Path:
    """Return a new folder to write in, and remove what conversions left that were cut off."""
    partial = models / (f".{model}.partial" if fence is None else f".{model}.partial-{fence}")
    for left in [partial] if fence is None else models.glob(f".{model}.partial-*"):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    return partial


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
    parser.add_argument("--fence", type=int, help="number of the lease under which this runs")
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
        convert(options.model, options.models or settings().models_path, report, options.fence)
    except BarnabasError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
