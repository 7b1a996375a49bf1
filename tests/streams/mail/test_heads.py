"""Owners' heads in a real store: in a folder, as it is by default."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from backbone.errors import BlobStoreError
from backbone.settings import Settings
from backbone.versions import Versions
from streams.errors import HeadError
from streams.mail.head import WIDTH, Correction
from streams.mail.heads import NAME, REMEMBERED, Heads


@pytest.fixture
def versions(tmp_path):
    return Versions.of(Settings(home=tmp_path))


def teaching(seed, **correction):
    """Return the change that a correction of a mail makes."""
    vector = np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)
    vector /= np.linalg.norm(vector)
    return lambda held: held.sound().taught(vector, Correction(**correction))


async def test_who_taught_nothing_has_a_head_that_knows_nothing(versions):
    held = await Heads(versions).of("ada")
    assert (held.version, len(held.head), held.error) == (0, 0, None)


async def test_a_correction_is_the_next_version_and_every_process_sees_it_at_once(versions):
    here, there = Heads(versions), Heads(versions)
    assert (await there.of("ada")).version == 0
    before, after = await here.change("ada", teaching(1, category="work"))
    assert (before.version, after.version) == (0, 1)
    seen = await there.of("ada")
    assert (seen.version, len(seen.head), seen.head.names) == (1, 1, ("work",))
    assert (await there.of("ben")).version == 0


async def test_of_many_corrections_at_once_none_is_lost(versions):
    processes = [Heads(versions) for _ in range(3)]
    changes = [processes[number % 3].change("ada", teaching(number, spam=True)) for number in range(12)]
    made = await asyncio.gather(*changes)
    assert sorted(after.version for _, after in made) == list(range(1, 13))
    assert len((await Heads(versions).of("ada")).head) == 12


async def test_a_head_that_did_not_change_is_not_read_again(versions, monkeypatch):
    heads = Heads(versions)
    await heads.change("ada", teaching(1, spam=True))
    read = []
    latest = versions.latest

    async def counted(owner, name):
        read.append(owner)
        return await latest(owner, name)

    monkeypatch.setattr(versions, "latest", counted)
    for _ in range(3):
        await heads.of("ada")
    assert read == []
    await Heads(versions).change("ada", teaching(2, spam=True))
    assert (await heads.of("ada")).version == 2
    assert read == ["ada", "ada"]


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"\xff" * 100], ids=["empty", "pickle", "noise"])
async def test_a_broken_head_is_named_taught_no_more_and_forgotten_on_demand(versions, data):
    heads = Heads(versions)
    await heads.change("ada", teaching(1, spam=True))
    await versions.add("ada", NAME, 2, data)
    held = await heads.of("ada")
    assert (held.version, len(held.head)) == (2, 0)
    assert "version 2" in held.error
    with pytest.raises(HeadError, match="forget"):
        await heads.change("ada", teaching(2, spam=True))
    forgot = await heads.forget("ada")
    assert (len(forgot.head), forgot.error) == (0, None)
    _, after = await heads.change("ada", teaching(2, spam=True))
    assert (after.version, len(after.head)) == (forgot.version + 1, 1)


async def test_what_was_forgotten_is_in_no_file(tmp_path, versions):
    heads = Heads(versions)
    for number in range(3):
        await heads.change("ada", teaching(number, category="work"))
    await heads.change("ben", teaching(1, category="work"))
    slow, forgotten = asyncio.Event(), asyncio.Event()

    class Slow(Versions):
        """One who is stopped between reading the head and writing the next one."""

        async def newest(self, owner, name):
            number = await super().newest(owner, name)
            slow.set()
            await forgotten.wait()
            return number

    late = Heads(Slow.of(Settings(home=tmp_path)))
    correcting = asyncio.create_task(late.change("ada", teaching(9, category="travel")))
    await slow.wait()
    forgot = await heads.forget("ada")
    forgotten.set()
    _, after = await correcting
    assert (after.version, after.head.names) == (forgot.version + 1, ("travel",))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 3
    assert sum(b"work" in file.read_bytes() for file in files) == 1


async def test_what_the_change_refuses_writes_nothing(versions):
    heads = Heads(versions)
    with pytest.raises(ValueError, match="no"):
        await heads.change("ada", lambda _: (_ for _ in ()).throw(ValueError("no")))
    assert await versions.newest("ada", NAME) == 0


async def test_a_store_that_is_away_is_no_head(tmp_path, versions):
    class Away(Versions):
        async def newest(self, owner, name):
            raise BlobStoreError

    with pytest.raises(BlobStoreError):
        await Heads(Away.of(Settings(home=tmp_path))).of("ada")


async def test_few_heads_are_kept_in_memory(versions):
    heads = Heads(versions)
    for number in range(REMEMBERED + 5):
        await heads.of(f"owner {number}")
    assert len(heads._remembered) == REMEMBERED
