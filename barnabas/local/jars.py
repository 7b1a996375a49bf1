"""Apache Kafka's jars: downloaded once by their Maven coordinates, each verified before it is ever used.

`kafka-4.3.1.sha256` lists every jar with its SHA-256 (`pin.py` writes it). The jars lie in the cache that homes share,
in the folders of a Maven repository; a jar goes there only once it is verified, so an interrupted download goes on
where it was. Neither Maven nor Java is needed: `jgo` fetches by itself.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path, PurePosixPath
from shutil import rmtree
from typing import TYPE_CHECKING

import requests
from filelock import FileLock
from jgo.config import GlobalSettings
from jgo.maven import MavenContext

from barnabas.errors import DownloadError, JarMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Fetch = Callable[[str, Path], Path]

KAFKA_VERSION = "4.3.1"
PINNED = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.sha256")

PARALLEL = 6
TRIES = 4


def pinned(file: Path = PINNED) -> dict[str, str]:
    """Return the SHA-256 of each jar by its path in a Maven repository."""
    lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
    return {path: digest for digest, path in lines}


def sha256_of(file: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fetch_by_jgo(path: str, folder: Path) -> Path:
    """Download one jar into a folder laid out as a Maven repository.

    The repositories are Maven Central and those of the user's jgo configuration.
    """
    *group, artifact, version, _name = PurePosixPath(path).parts
    repositories = GlobalSettings.load().repositories
    context = MavenContext(repo_cache=folder)
    context.remote_repos.update(repositories)
    return context.project(".".join(group), artifact).at_version(version).artifact().resolve()


def kafka_classpath(
    cache: Path,
    *,
    jars: Mapping[str, str] | None = None,
    fetch: Fetch = fetch_by_jgo,
    progress: Callable[[str], None] = lambda _text: None,
) -> list[Path]:
    """Return Kafka's jars, all verified, downloading those that are missing.

    Args:
        cache: the folder that homes share.
        jars: SHA-256 by path; the pinned list by default.
        fetch: downloads one jar.
        progress: told how far the download is.

    Raises:
        JarMismatchError: a jar differs from the list; it was not used.
        DownloadError: a jar could not be had, or the cache can't be written.
    """
    jars = pinned() if jars is None else jars
    repository = cache / "maven"
    try:
        if _missing(repository, jars):
            repository.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / "maven.lock"):  # a second start waits here, and then finds all of it done
                _download(repository, _missing(repository, jars), fetch, progress)
    except OSError as error:
        raise DownloadError(
            f"{cache} can't be used ({error.strerror or error}): "
            "give it room and permission, or set BARNABAS_CACHE to another folder"
        ) from error
    return classpath(cache, jars)


def classpath(cache: Path, jars: Mapping[str, str] | None = None) -> list[Path]:
    """Return where Kafka's jars lie in the cache, whether they are there or not."""
    return [cache / "maven" / path for path in (pinned() if jars is None else jars)]


def _missing(repository: Path, jars: Mapping[str, str]) -> dict[str, str]:
    """Return the jars that are not there, having verified all that are."""
    there = {path for path in jars if (repository / path).exists()}
    for path in there:
        _verify(repository / path, jars[path])
    return {path: digest for path, digest in jars.items() if path not in there}


def _verify(jar: Path, digest: str) -> None:
    if (found := sha256_of(jar)) != digest:
        raise JarMismatchError(
            f"{jar.name} has SHA-256 {found}, not {digest}: it was not used; delete {jar} and start again"
        )


def _download(repository: Path, jars: Mapping[str, str], fetch: Fetch, progress: Callable[[str], None]) -> None:
    staging = repository.with_name("maven.part")
    rmtree(staging, ignore_errors=True)  # of a download that was killed
    try:
        _download_by(staging, repository, jars, fetch, progress)
    finally:
        rmtree(staging, ignore_errors=True)


def _download_by(
    staging: Path, repository: Path, jars: Mapping[str, str], fetch: Fetch, progress: Callable[[str], None]
) -> None:
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="jars") as pool:
        futures = [pool.submit(partial(_one, path, jars[path], repository, staging, fetch)) for path in jars]
        size = 0
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                size += future.result().stat().st_size
                progress(f"downloading Kafka: {done} of {len(jars)} jars, {size / 1e6:.0f} MB")
        finally:
            pool.shutdown(cancel_futures=True)


def _one(path: str, digest: str, repository: Path, staging: Path, fetch: Fetch) -> Path:
    """Download a jar beside the repository, verify it, and only then move it in."""
    for attempt in range(1, TRIES + 1):
        (staging / path).unlink(missing_ok=True)  # the half of an earlier attempt
        try:
            jar = fetch(path, staging)
        except (requests.RequestException, RuntimeError, OSError) as error:
            if attempt == TRIES:
                raise DownloadError(
                    f"{PurePosixPath(path).name} could not be downloaded ({error}); "
                    "what has arrived is kept: start again to go on"
                ) from error
            time.sleep(0.5 * 2**attempt)
        else:
            break
    _verify(jar, digest)
    target = repository / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return jar.replace(target)
