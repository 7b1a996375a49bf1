"""The download, with a fetch that writes known bytes; the real one runs whenever a stack starts with an empty cache."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from barnabas.errors import DownloadError, JarMismatchError
from barnabas.local import jars as module
from barnabas.local.jars import classpath, kafka_classpath, pinned

if TYPE_CHECKING:
    from pathlib import Path

PATHS = [f"org/example/lib{n}/1.{n}/lib{n}-1.{n}.jar" for n in range(5)]
JARS = {path: hashlib.sha256(path.encode()).hexdigest() for path in PATHS}


class Fetch:
    """Writes each jar, counts, and fails where it is told to."""

    def __init__(self, *, broken: dict[str, Exception] | None = None, contents: dict[str, bytes] | None = None) -> None:
        self.fetched: list[str] = []
        self._broken = broken or {}
        self._contents = contents or {}
        self._lock = threading.Lock()

    def __call__(self, path: str, folder: Path) -> Path:
        with self._lock:
            self.fetched.append(path)
        jar = folder / path
        assert not jar.exists(), "the half of an earlier attempt was left"
        jar.parent.mkdir(parents=True, exist_ok=True)
        if path in self._broken:
            jar.write_bytes(b"half of")
            raise self._broken[path]
        jar.write_bytes(self._contents.get(path, path.encode()))
        return jar


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


def test_the_pinned_list_names_kafka_and_its_logging_backend_by_path_with_a_sha256() -> None:
    listed = pinned()
    names = {PurePosixPath(path).name for path in listed}
    assert {"kafka_2.13-4.3.1.jar", "kafka-clients-4.3.1.jar", "log4j-slf4j-impl-2.25.4.jar"} <= names
    assert all(len(bytes.fromhex(digest)) == 32 for digest in listed.values())
    # One version of each library, or the first one on the classpath would win by chance.
    assert len({PurePosixPath(path).parent.parent for path in listed}) == len(listed)


def test_all_jars_are_downloaded_once_verified_and_in_order(tmp_path: Path) -> None:
    fetch = Fetch()
    told: list[str] = []
    found = kafka_classpath(tmp_path, jars=JARS, fetch=fetch, progress=told.append)
    assert [jar.relative_to(tmp_path / "maven").as_posix() for jar in found] == PATHS
    assert found == classpath(tmp_path, JARS)
    assert told[-1].startswith("downloading Kafka: 5 of 5 jars")
    again = Fetch()
    assert kafka_classpath(tmp_path, jars=JARS, fetch=again) == found
    assert again.fetched == []


def test_a_jar_that_differs_is_an_error_that_names_it_and_never_gets_a_name_in_the_cache(tmp_path: Path) -> None:
    fetch = Fetch(contents={PATHS[2]: b"something else"})
    with pytest.raises(JarMismatchError, match=r"lib2-1\.2\.jar"):
        kafka_classpath(tmp_path, jars=JARS, fetch=fetch)
    assert not (tmp_path / "maven" / PATHS[2]).exists()


def test_a_jar_that_changed_in_the_cache_is_an_error_that_names_it(tmp_path: Path) -> None:
    kafka_classpath(tmp_path, jars=JARS, fetch=Fetch())
    (tmp_path / "maven" / PATHS[3]).write_bytes(b"changed")
    with pytest.raises(JarMismatchError, match=r"lib3-1\.3\.jar.*delete"):
        kafka_classpath(tmp_path, jars=JARS, fetch=Fetch())


def test_an_interrupted_download_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    cut_off = Fetch(broken={PATHS[4]: OSError("the network went")})
    with pytest.raises(DownloadError, match=r"lib4-1\.4\.jar.*network went.*start again"):
        kafka_classpath(tmp_path, jars=JARS, fetch=cut_off)
    assert cut_off.fetched.count(PATHS[4]) == module.TRIES
    there = {path for path in PATHS if (tmp_path / "maven" / path).exists()}
    again = Fetch()
    kafka_classpath(tmp_path, jars=JARS, fetch=again)
    assert PATHS[4] not in there
    assert set(again.fetched) == set(PATHS) - there


def test_what_a_killed_download_left_is_gone_before_the_next_begins(tmp_path: Path) -> None:
    half = tmp_path / "maven.part" / "org" / "example" / "half.pom"
    half.parent.mkdir(parents=True)
    half.write_text("<pro")
    there: list[bool] = []

    def fetch(path: str, folder: Path) -> Path:
        there.append(half.exists())
        return Fetch()(path, folder)

    kafka_classpath(tmp_path, jars=JARS, fetch=fetch)
    assert not any(there)


def test_a_cache_that_can_not_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"file/cache can't be used \(Not a directory\).*BARNABAS_CACHE"):
        kafka_classpath(tmp_path / "file" / "cache", jars=JARS, fetch=Fetch())


def test_two_starts_at_once_download_each_jar_once(tmp_path: Path) -> None:
    fetch = Fetch()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: kafka_classpath(tmp_path, jars=JARS, fetch=fetch), range(4)))
    assert all(result == results[0] for result in results)
    assert sorted(fetch.fetched) == sorted(PATHS)
