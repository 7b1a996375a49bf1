"""What may be used again has a bound, in Redis and on disk."""

from __future__ import annotations

import asyncio
import os
import resource

import pytest
from pydantic import SecretStr

from backbone.redis import connect
from streams.web.disk import Folder
from streams.web.store import LARGEST, OVERHEAD, SMALL, CacheStore


@pytest.fixture
def store(settings, redis):
    return CacheStore(settings, redis)


def noise(size: int) -> bytes:
    return os.urandom(size)


def on_disk(settings) -> int:
    return sum(file.stat().st_size for file in settings.cache.rglob("*") if file.is_file())


@pytest.mark.slow
class TestCacheStore:
    @pytest.mark.parametrize("size", [0, 10, SMALL + 1, 1_000_000])
    async def test_keeps_what_is_put(self, store, settings, redis, size):
        value = noise(size)
        assert await store.get("a") is None
        await store.put("a", value, 60)
        assert await store.get("a") == value
        assert await CacheStore(settings, redis).get("a") == value
        assert (on_disk(settings) > 0) == (size > SMALL)

    async def test_a_name_has_one_value(self, store, settings):
        small, large = b"small", noise(100_000)
        for value in (small, large, b"other", large[::-1]):
            await store.put("a", value, 60)
            assert await store.get("a") == value
        await store.put("a", small, 60)
        assert on_disk(settings) == 0

    async def test_what_is_in_redis_has_a_bound(self, settings, redis):
        bound = 1024 * 1024
        store = CacheStore(settings.model_copy(update={"web_cache_memory": bound}), redis)
        for number in range(100):
            await store.put(f"a{number}", noise(20_000), 60)
            await store.put("again and again", noise(20_000), 60)
        there = [number for number in range(100) if await store.get(f"a{number}") is not None]
        assert there == list(range(there[0], 100))  # what was put first has gone
        assert 45 < len(there) < 55
        names = [name async for name in redis.scan_iter(f"{settings.topic_prefix}{{web.cache}}:*")]
        sizes = [await redis.strlen(name) for name in names if await redis.type(name) == b"string"]
        assert sum(sizes) + OVERHEAD * len(sizes) <= bound
        assert sum(sizes) > bound * 0.9

    async def test_processes_that_put_at_once_keep_to_the_bound(self, settings, redis):
        bound = 1024 * 1024
        stores = [CacheStore(settings.model_copy(update={"web_cache_memory": bound}), redis) for _ in range(4)]
        await asyncio.gather(*(store.put(f"a{n % 30}", noise(30_000), 60) for n in range(60) for store in stores))
        counted = {name: int(size) for name, size in (await redis.hgetall(stores[0]._prefix + "sizes")).items()}
        assert counted.pop(b"") == sum(counted.values()) <= bound
        assert set(counted) == set(await redis.zrange(stores[0]._prefix + "order", 0, -1))

    async def test_it_expires(self, store, redis):
        await store.put("a", b"value", 60)
        await store.put("b", b"value", 0.5)
        assert await store.get("b") is None
        assert 50 < await redis.ttl(f"{store._prefix}{store_name('a')}") <= 60

    @pytest.mark.parametrize("size", [10, 100_000])
    async def test_what_is_kept_for_no_time_is_forgotten(self, store, settings, redis, size):
        await store.put("a", noise(size), 60)
        await store.put("a", b"other", 0)
        assert await store.get("a") is None
        assert on_disk(settings) == 0
        assert await redis.hgetall(store._prefix + "sizes") == {b"": b"0"}

    async def test_what_is_too_large_is_not_kept(self, store, settings):
        await store.put("a", b"value", 60)
        await store.put("a", bytes(LARGEST + 1), 60)
        assert await store.get("a") is None
        assert on_disk(settings) == 0

    async def test_without_redis_the_disk_remains(self, settings):
        client = connect(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
        store = CacheStore(settings, client)
        value = noise(100_000)
        await store.put("large", value, 60)
        await store.put("small", b"value", 60)
        assert await store.get("large") == value
        assert await store.get("small") is None
        await client.aclose()


def store_name(name: str) -> str:
    from streams.web.store import _digest

    return _digest(name)


class TestFolder:
    def test_has_a_bound(self, tmp_path):
        folder = Folder(tmp_path / "web", 1_000_000)
        for number in range(100):
            folder.put(f"{number:064x}", noise(50_000), 60)
            os.utime(tmp_path / "web" / "00" / f"{number:064x}", (number, number))
        there = [number for number in range(100) if folder.get(f"{number:064x}")]
        assert there == list(range(there[0], 100))
        assert 15 < len(there) <= 21

    def test_what_a_process_that_died_was_writing_goes(self, tmp_path):
        folder = Folder(tmp_path / "web", 1_000_000)
        folder.put("ab" * 32, b"value", 60)
        left = tmp_path / "web" / "ab" / f"{'ab' * 32}.dead"
        left.write_bytes(b"half")
        os.utime(left, (0, 0))
        Folder(tmp_path / "web", 1_000_000).put("cd" * 32, b"value", 60)
        assert not left.exists()
        assert folder.get("ab" * 32) == b"value"

    @pytest.mark.parametrize("damage", [b"", b"x", b"x" * 100])
    def test_a_damaged_file_is_none(self, tmp_path, damage):
        folder = Folder(tmp_path / "web", 1_000_000)
        folder.put("ab" * 32, b"value", 60)
        file = tmp_path / "web" / "ab" / ("ab" * 32)
        file.write_bytes(damage or file.read_bytes()[:-1])
        assert folder.get("ab" * 32) is None

    def test_it_expires(self, tmp_path):
        folder = Folder(tmp_path / "web", 1_000_000)
        folder.put("ab" * 32, b"value", 0)
        assert folder.get("ab" * 32) is None

    def test_a_folder_that_can_t_be_written_keeps_nothing(self, tmp_path):
        (tmp_path / "web").write_text("a file")
        folder = Folder(tmp_path / "web", 1_000_000)
        folder.put("ab" * 32, b"value", 60)
        assert folder.get("ab" * 32) is None

    def test_a_full_disk_keeps_what_there_is(self, tmp_path):
        folder = Folder(tmp_path / "web", 1_000_000_000)
        folder.put("ab" * 32, b"value", 60)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, limits[1]))  # a write ends half-way, as on a full disk
        try:
            folder.put("ab" * 32, bytes(9_000_000), 60)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert folder.get("ab" * 32) == b"value"
        assert [file.name for file in (tmp_path / "web" / "ab").iterdir()] == ["ab" * 32]

    def test_none_at_all(self, tmp_path):
        folder = Folder(tmp_path / "web", 0)
        folder.put("ab" * 32, b"value", 60)
        assert folder.get("ab" * 32) is None
