"""`python -m inference_worker.models.adopt FOLDER --as ID`: makes a model of a folder that Hugging Face's tools wrote.

Any causal language model may be one: safetensors, `config.json`, the tokenizer, and a chat template; or, in place of the
safetensors, what TensorFlow saved: `saved_model/` or `model.keras`. Nothing is downloaded and nothing of the folder is
run. Files are linked where both folders are on one disk, else copied; the folder is written beside its place and renamed
last. `BARNABAS_MODEL=ID` then has workers load it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from filelock import FileLock

from backbone.settings import settings
from inference_worker.errors import ConversionError
from inference_worker.models import catalog, files
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from collections.abc import Sequence

_TAKEN: Final = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "vocab.txt", "merges.txt")
_TENSORFLOW: Final = (files.KERAS, f"{files.SAVED_MODEL}/**/*")
_NEEDED: Final = (files.CONFIG, files.TOKENIZER, files.TOKENIZER_CONFIG)
_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def adopt(source: Path, model: str, models: Path) -> Path:
    """Take a folder's files over as `models/<model>`.

    Args:
        source: the folder.
        model: the id that the model gets.
        models: the folder of all models.

    Returns:
        The model's folder.

    Raises:
        ConversionError: a file is missing, or the id is not free or no id; names the field.
    """
    if not _ID.fullmatch(model):
        raise ConversionError("an id is made of small letters, digits, '.', '_' and '-'", field="as")
    for name in _NEEDED:
        if not (source / name).is_file():
            raise ConversionError(f"{source.name} has no {name}", field=name)
    found = {file for pattern in (*_TAKEN, *_TENSORFLOW) for file in source.glob(pattern) if file.is_file()}
    taken = {file.relative_to(source).as_posix(): file for file in sorted(found - {source / files.MANIFEST})}
    if not files.by_tensorflow(taken) and not any(name.endswith(".safetensors") for name in taken):
        raise ConversionError(f"{source.name} has no weights in safetensors", field=files.WEIGHTS)
    models.mkdir(parents=True, exist_ok=True)
    folder, partial = models / model, models / f".{model}.adopted"
    with FileLock(models / f".{model}.by-hand.lock"):
        if model in catalog.SOURCES or folder.exists():
            raise ConversionError(f"there is a model {model!r} already", field="as")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name, file in taken.items():
            _bring(file.resolve(), partial / name)
        entries = {name: files.describe(partial / name) for name in taken}
        manifest = files.Manifest(model, f"folder {source.name}", entries, files.overall_digest(entries))
        (partial / files.MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        partial.rename(folder)
    return folder


def _bring(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)


def main(arguments: Sequence[str] | None = None) -> int:
    """Take over the model in a folder; exit code 0 when it is there."""
    parser = argparse.ArgumentParser(prog="python -m inference_worker.models.adopt", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="what `save_pretrained` wrote")
    parser.add_argument("--as", dest="model", required=True, help="the id that the model gets")
    parser.add_argument("--models", type=Path, help="the folder of all models; by default the one of the settings")
    options = parser.parse_args(arguments)
    try:
        adopt(options.folder, options.model, options.models or settings().models_path)
    except BarnabasError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
