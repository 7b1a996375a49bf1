"""Blobs in a folder and in a real S3: whole or not at all, each owner's own, and held against their hash."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from backbone.blob_sweep import sweep
from backbone.blobs import BLOBS, INCOMING, PART, Blobs
from backbone.errors import BlobChangedError, BlobMissingError, BlobStoreError, BlobTooLargeError, VersionTakenError
from backbone.settings import Settings
from backbone.versions import KEPT, Versions
from schemas.topics import DEAD_LETTERS, INFERENCE, RESULTS, TASKS
from tests.seaweed import seaweed

MIB = 2**20


@pytest.fixture
def folder(tmp_path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with seaweed(tmp_path_factory.mktemp("seaweed")) as settings:
        yield settings


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def places(request, tmp_path) -> Settings:
    """Return settings of each kind of store."""
    if request.param == "s3":
        return request.getfixturevalue("s3")
    return Settings(home=tmp_path)


async def pieces(*parts: bytes):
    for part in parts:
        yield part


def files(settings: Settings) -> list[Path]:
    return [path for path in (settings.home / "blobs").rglob("*") if path.is_file()]


def file_of(settings: Settings) -> Path:
    [file] = files(settings)
    return file


class TestEverywhere:
    async def test_what_was_put_is_got_by_its_owner_alone(self, places):
        blobs = Blobs.of(places)
        data = os.urandom(3000)
        put = await blobs.put("me", data)
        assert put == (f"blob:sha256:{hashlib.sha256(data).hexdigest()}", 3000, hashlib.sha256(data).hexdigest())
        assert await blobs.get("me", put.ref) == data
        for get in (blobs.get, blobs.open):
            with pytest.raises(BlobMissingError) as missing:
                await get("you", put.ref)
            assert (missing.value.code, missing.value.retryable) == ("blob.missing", False)
        assert await blobs.of_owner("me").get(put.ref) == data

    async def test_a_stream_of_many_parts_comes_back_as_it_went(self, places):
        blobs = Blobs.of(places)
        parts = [os.urandom(MIB + number) for number in range(PART // MIB + 3)]
        put = await blobs.put("me", pieces(*parts))
        assert put.sha256 == hashlib.sha256(b"".join(parts)).hexdigest()
        size, back = await blobs.open("me", put.ref)
        assert (size, b"".join([piece async for piece in back])) == (put.size, b"".join(parts))
        assert await blobs.get("me", put.ref) == b"".join(parts)

    async def test_the_empty_blob_is_one(self, places):
        blobs = Blobs.of(places)
        put = await blobs.put("me", pieces())
        assert put == await blobs.put("me", b"")
        assert await blobs.get("me", put.ref) == b""
        size, back = await blobs.open("me", put.ref)
        assert (size, [piece async for piece in back]) == (0, [])

    async def test_many_puts_of_the_same_bytes_at_once_are_one_blob(self, places):
        blobs, data = Blobs.of(places), os.urandom(2 * MIB)
        puts = await asyncio.gather(
            *(blobs.put("me", data if number % 2 else pieces(data[:MIB], data[MIB:])) for number in range(8))
        )
        assert len(set(puts)) == 1
        assert await blobs.get("me", puts[0].ref) == data

    async def test_a_stream_that_breaks_off_or_is_too_long_leaves_nothing(self, places):
        blobs = Blobs.of(places)
        data = os.urandom(2 * PART)

        async def broken():
            yield data
            raise ConnectionResetError("the client is gone")

        with pytest.raises(ConnectionResetError):
            await blobs.put("me", broken())
        with pytest.raises(BlobTooLargeError) as refused:
            await blobs.put("me", pieces(data, b"x"), most=len(data))
        assert refused.value.code == "blob.too_large"
        with pytest.raises(BlobTooLargeError):
            await blobs.put("me", data, most=len(data) - 1)
        with pytest.raises(BlobMissingError):
            await blobs.get("me", f"blob:sha256:{hashlib.sha256(data).hexdigest()}")

    async def test_a_blob_larger_than_may_be_read_is_not(self, places):
        blobs = Blobs.of(places)
        put = await blobs.put("me", b"x" * 100)
        blobs.most = 99
        with pytest.raises(BlobTooLargeError):
            await blobs.get("me", put.ref)

    async def test_of_two_writers_of_a_version_one_wins_and_the_other_hears_of_it(self, places):
        versions = Versions.of(places)
        assert await versions.latest("me", "mail-head") is None
        for number in range(1, KEPT + 4):
            tries = await asyncio.gather(
                *(versions.add("me", "mail-head", number, b"%d by %d" % (number, who)) for who in range(5)),
                return_exceptions=True,
            )
            lost = [one for one in tries if one is not None]
            assert len(lost) == 4
            assert all(isinstance(one, VersionTakenError) for one in lost), lost
            winner = tries.index(None)
            assert await versions.latest("me", "mail-head") == (number, b"%d by %d" % (number, winner))
        with pytest.raises(VersionTakenError):  # long gone, and not to be had again
            await versions.add("me", "mail-head", 1, b"late")
        assert await versions.latest("you", "mail-head") is None
        assert await versions.latest("me", "other") is None


@given(
    owner=st.one_of(st.sampled_from(["../../etc", "a/b", "..", "", "\x00", "ü/\u202e", "\ud800", "x" * 5000]), st.text()),
    ref=st.one_of(
        st.text(),
        st.sampled_from(["blob:sha256:../../x", "blob:sha256:" + "A" * 64, "blob:sha256:" + "a" * 64 + "\n", "/etc/passwd"]),
    ),
)  # fmt: skip
def test_no_owner_and_no_ref_leads_anywhere_else(tmp_path_factory, owner, ref):
    settings = Settings(home=tmp_path_factory.mktemp("blobs"))

    async def check() -> None:
        blobs = Blobs.of(settings)
        put = await blobs.put(owner, b"mine")
        assert await blobs.get(owner, put.ref) == b"mine"
        assert file_of(settings).parent.parent == settings.home / "blobs" / BLOBS
        with pytest.raises(BlobMissingError):
            await blobs.get(owner, ref)

    asyncio.run(check())


class TestFolder:
    async def test_a_changed_blob_is_not_given_out_and_a_deleted_one_is_missing(self, folder):
        blobs = Blobs.of(folder)
        data = os.urandom(MIB)
        put = await blobs.put("me", data)
        file_of(folder).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(BlobChangedError) as changed:
            await blobs.get("me", put.ref)
        assert (changed.value.code, changed.value.retryable) == ("blob.changed", False)
        got = b""

        async def read() -> None:
            nonlocal got
            async for piece in (await blobs.open("me", put.ref)).pieces:
                got += piece

        with pytest.raises(BlobChangedError):
            await read()
        assert 0 < len(got) < len(data)  # whoever counts sees that it is not whole
        for left in (0, 1000):  # cut short, as a machine that lost power leaves a file
            file_of(folder).write_bytes(data[:left])
            with pytest.raises(BlobChangedError):
                await blobs.open("me", put.ref)
        assert await blobs.put("me", data) == put
        assert await blobs.get("me", put.ref) == data
        file_of(folder).unlink()
        with pytest.raises(BlobMissingError):
            await blobs.get("me", put.ref)

    async def test_what_can_not_be_written_or_read_is_a_typed_error_to_be_tried_again(self, folder):
        blobs = Blobs.of(folder)
        put = await blobs.put("me", b"x")
        file = file_of(folder)
        file.unlink()
        file.parent.rmdir()
        file.parent.write_bytes(b"a file where the owner's folder should be")
        for failing in (blobs.put("me", b"y"), blobs.put("me", pieces(b"y")), blobs.get("me", put.ref)):
            with pytest.raises(BlobStoreError) as failed:
                await failing
            assert (failed.value.code, failed.value.retryable) == ("blob.unavailable", True)

    def test_a_full_disk_leaves_nothing_half(self, folder):
        """A child may write files of 1 MiB at most, as if the disk were full after that."""
        child = (
            "import asyncio, sys, resource\n"
            "from backbone.blobs import Blobs\n"
            "from backbone.errors import BlobStoreError\n"
            "from backbone.settings import Settings\n"
            "async def stream():\n"
            "    for _ in range(12): yield b'x' * 1048576\n"
            "async def main():\n"
            "    blobs = Blobs.of(Settings(home=sys.argv[1]))\n"
            "    small = await blobs.put('me', b'small')\n"
            "    resource.setrlimit(resource.RLIMIT_FSIZE, (1048576, 1048576))\n"
            "    for data in (b'x' * 2097152, stream()):\n"
            "        try: await blobs.put('me', data)\n"
            "        except BlobStoreError as error: print(error.code)\n"
            "    assert await blobs.get('me', small.ref) == b'small'\n"
            "asyncio.run(main())\n"
        )
        done = subprocess.run([sys.executable, "-c", child, folder.home], capture_output=True, text=True, check=False)
        assert (done.stdout.split(), done.stderr) == (["blob.unavailable"] * 2, "")
        assert file_of(folder).read_bytes() == b"small"

    def test_a_killed_upload_can_not_be_seen_and_is_swept(self, folder):
        child = (
            "import asyncio, sys\n"
            "from backbone.blobs import Blobs\n"
            "from backbone.settings import Settings\n"
            "async def stream():\n"
            "    for _ in range(12): yield b'x' * 1048576\n"
            "    print('most of it', flush=True)\n"
            "    await asyncio.sleep(3600)\n"
            "    yield b'x'\n"
            "asyncio.run(Blobs.of(Settings(home=sys.argv[1])).put('me', stream()))\n"
        )
        running = subprocess.Popen([sys.executable, "-c", child, folder.home], stdout=subprocess.PIPE, text=True)
        try:
            assert running.stdout.readline() == "most of it\n"
        finally:
            running.send_signal(signal.SIGKILL)
            running.communicate()
        left = file_of(folder)
        assert left.parent.name == INCOMING
        now = left.stat().st_mtime
        assert sweep(folder.home / "blobs", now + 3600, timedelta(days=31)) == 0
        assert sweep(folder.home / "blobs", now + 86_400 + 1, timedelta(days=31)) == 1
        assert files(folder) == []

    async def test_what_is_old_is_swept_and_what_was_put_again_is_young(self, folder):
        blobs, store = Blobs.of(folder), folder.home / "blobs"
        old, again = await blobs.put("me", b"old"), await blobs.put("me", b"again")
        await Versions.of(folder).add("me", "head", 1, b"kept")
        for file in files(folder):
            os.utime(file, (1_000_000, 1_000_000))
        assert await blobs.put("me", b"again") == again
        ttl = timedelta(days=7)
        assert sweep(store, 1_000_000 + ttl.total_seconds() - 1, ttl) == 0
        assert sweep(store, 1_000_000 + ttl.total_seconds() + 1, ttl) == 1
        assert await blobs.get("me", again.ref) == b"again"
        with pytest.raises(BlobMissingError):
            await blobs.get("me", old.ref)
        assert await Versions.of(folder).latest("me", "head") == (1, b"kept")

    async def test_what_is_put_while_it_is_swept_stays(self, folder, monkeypatch):
        blobs = Blobs.of(folder)
        put = await blobs.put("me", b"x")
        file = file_of(folder)
        os.utime(file, (1_000_000, 1_000_000))
        replace = Path.replace

        def after_a_put(path, target):
            if path == file:
                file.write_bytes(b"x")  # as a put does it: the same bytes, and a new time
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", after_a_put)
        assert sweep(folder.home / "blobs", time.time(), timedelta(days=31)) == 0
        assert await blobs.get("me", put.ref) == b"x"
        assert files(folder) == [file]

    async def test_two_sweeps_at_once_lose_nothing_of_what_two_owners_have_alike(self, folder, monkeypatch):
        blobs, store = Blobs.of(folder), folder.home / "blobs"
        ref = (await blobs.put("me", b"x")).ref
        [mine] = files(folder)
        await blobs.put("you", b"x")
        [theirs] = set(files(folder)) - {mine}
        os.utime(theirs, (1_000_000, 1_000_000))
        os.utime(mine, (1_000_000, 1_000_000))
        replace = Path.replace

        def interrupted(path, target):
            if path == mine:
                mine.write_bytes(b"x")  # put anew
                moved = replace(path, target)
                monkeypatch.setattr(Path, "replace", replace)
                sweep(store, time.time(), timedelta(days=31))  # another one's, which finds theirs
                return moved
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", interrupted)
        sweep(store, time.time(), timedelta(days=31))
        assert await blobs.get("me", ref) == b"x"
        assert files(folder) == [mine]

    def test_a_folder_that_is_not_there_yet_has_nothing_to_sweep(self, tmp_path):
        assert sweep(tmp_path / "none", 1e9, timedelta(days=1)) == 0


@pytest.mark.slow
def test_a_large_upload_takes_little_memory(folder):
    """200 MiB go through a child whose address space has room for a small part of that."""
    child = (
        "import asyncio, os, resource, sys\n"
        "from backbone.blobs import Blobs\n"
        "from backbone.settings import Settings\n"
        "async def stream():\n"
        "    for _ in range(200): yield bytes(1048576)\n"
        "async def main():\n"
        "    blobs = Blobs.of(Settings(home=sys.argv[1]))\n"
        "    await blobs.put('me', b'warm')\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    put = await blobs.put('me', stream(), most=2**30)\n"
        "    blobs.most = 2**30\n"
        "    async for _ in (await blobs.open('me', put.ref)).pieces: pass\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)\n"
        # Python that ends just as a thread of obstore lets go of the stream is aborted.
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", child, folder.home], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024  # KiB


def test_a_blob_lives_as_long_as_any_record_that_names_it():
    topics = [*TASKS.values(), *INFERENCE.values(), RESULTS, DEAD_LETTERS]
    assert Settings().blob_ttl > max(topic.retention for topic in topics)


@pytest.mark.parametrize("url", ["http://x", "file://host/x", "file:relative", "s3:", "s3:///x", "memory:", "x"])
def test_an_odd_place_is_refused(url):
    with pytest.raises(ValidationError, match="s3://bucket/prefix"):
        Settings(blob_url=url)


@pytest.mark.slow
async def test_an_s3_that_is_away_is_a_typed_error(tmp_path):
    away = Settings(
        home=tmp_path, blob_url="s3://bucket/x", blob_endpoint="http://127.0.0.1:1", blob_region="us-east-1",
        blob_key_id=SecretStr("a"), blob_key_secret=SecretStr("b"),
    )  # fmt: skip
    blobs = Blobs.of(away)
    for failing in (blobs.put("me", b"x"), blobs.put("me", pieces(b"x")), blobs.get("me", "blob:sha256:" + "0" * 64)):
        with pytest.raises(BlobStoreError) as failed:
            await failing
        assert failed.value.retryable


class NoBucket(BaseHTTPRequestHandler):
    """An S3 that knows no bucket."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<Error><Code>NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>")

    do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the server's names

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.mark.slow
async def test_a_bucket_that_is_not_there_takes_nothing_and_says_so(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), NoBucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = Settings(
            home=tmp_path, blob_url="s3://gone/x", blob_endpoint=f"http://127.0.0.1:{server.server_port}",
            blob_region="us-east-1", blob_key_id=SecretStr("a"), blob_key_secret=SecretStr("b"),
        )  # fmt: skip
        blobs = Blobs.of(settings)
        for failing in (
            blobs.put("me", b"x"),
            blobs.put("me", pieces(b"x")),
            blobs.put("me", pieces(bytes(PART), bytes(PART))),
            Versions.of(settings).add("me", "head", 1, b"x"),
        ):
            with pytest.raises(BlobStoreError):
                await failing
        server.shutdown()


async def test_writers_that_delete_the_same_old_versions_hear_nothing_of_it(folder, monkeypatch):
    versions = Versions.of(folder)
    for number in range(1, KEPT + 1):
        await versions.add("me", "head", number, b"x")
    delete = obstore.delete_async

    async def late(store, paths):
        await delete(store, paths)  # as another writer does in this moment
        await delete(store, paths)

    monkeypatch.setattr("backbone.versions.obstore.delete_async", late)
    await versions.add("me", "head", KEPT + 1, b"x")
    assert await versions.newest("me", "head") == KEPT + 1
