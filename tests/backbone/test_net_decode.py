"""Compression is undone in steps that are bounded, whatever the bytes were made for."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from backbone.errors import AnswerRefusedError, FetchError
from backbone.net_decode import MOST_PARTS, Body
from tests.misbehaving import BOMB, PACKERS, bare_deflate

ENCODINGS = [*PACKERS, "x-gzip", "bare"]
TEXT = bytes(random.Random(1).choices(b"abcdefgh \n", k=200_000)) + bytes(300_000)


def pack(encoding: str, data: bytes) -> bytes:
    if encoding == "bare":
        return bare_deflate(data)
    return PACKERS[encoding.removeprefix("x-")](data)


def fed(encoding: str, data: bytes, limit: int = 10**6, *, step: int = 65536, cut: bool = False) -> Body:
    body = Body("deflate" if encoding == "bare" else encoding, limit, cut=cut)
    for start in range(0, len(data), step):
        body.feed(data[start : start + step])
    return body


@pytest.mark.parametrize("step", [1, 7, 1000, 65536, 10**9])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_reads_what_is_compressed_however_it_comes_in_pieces(encoding, step):
    assert fed(encoding, pack(encoding, TEXT[150_000:]), step=step).content() == TEXT[150_000:]


@given(data=st.binary(max_size=5000), outer=st.sampled_from(list(PACKERS)), inner=st.sampled_from(list(PACKERS)))
def test_reads_what_is_compressed_twice(data, outer, inner):
    assert fed(f"{inner}, {outer}", PACKERS[outer](PACKERS[inner](data)), step=100).content() == data


@pytest.mark.parametrize("encoding", ["", "identity", " Identity , identity"])
def test_what_is_not_compressed_comes_as_it_is(encoding):
    assert fed(encoding, b"hello").content() == b"hello"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bomb_stops_at_the_limit(encoding):
    bomb = pack(encoding, BOMB)
    tracemalloc.start()
    with pytest.raises(AnswerRefusedError, match="longer than 100000 bytes"):
        fed(encoding, bomb, 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_bomb_in_a_bomb_stops_as_well(encoding):
    bomb = PACKERS["gzip"](PACKERS[encoding](BOMB))
    with pytest.raises(AnswerRefusedError, match="longer than 100000 bytes"):
        fed(f"{encoding}, gzip", bomb, 100_000)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_stream_that_breaks_off_may_be_tried_again(encoding):
    body = fed(encoding, pack(encoding, TEXT)[:-8])
    with pytest.raises(FetchError, match="breaks off") as caught:
        body.content()
    assert caught.value.retryable


@pytest.mark.parametrize("encoding", [*PACKERS, "gzip, br"])
def test_a_stream_that_is_something_else_is_refused(encoding):
    with pytest.raises(AnswerRefusedError, match="compression is broken"):
        fed(encoding, b"<!doctype html><p>this is no such thing, whatever the header says" * 3).content()


@pytest.mark.parametrize("encoding", PACKERS)
def test_an_empty_body_needs_no_compression(encoding):
    assert fed(encoding, b"").content() == b""


@pytest.mark.parametrize("step", [1, 1000, 10**9])
def test_gzip_and_zstd_of_several_parts(step):
    parts = TEXT[:90_000], b"", TEXT[190_000:]
    assert fed("gzip", b"".join(map(gzip.compress, parts)), step=step).content() == b"".join(parts)
    frames = b"".join(zstandard.ZstdCompressor().compress(part) for part in parts)
    assert fed("zstd", frames, step=step).content() == b"".join(parts)


def test_what_follows_gzip_and_is_none_is_nobodys():
    assert fed("gzip", gzip.compress(b"hello") + b"\0\0\0 more").content() == b"hello"
    assert fed("deflate", zlib.compress(b"hello") + zlib.compress(b"more")).content() == b"hello"


@pytest.mark.parametrize("step", [1, 10**9])
@pytest.mark.parametrize("encoding", ["br", "zstd"])
def test_what_follows_others_is_refused_however_it_comes_in_pieces(encoding, step):
    with pytest.raises(AnswerRefusedError, match="compression is broken"):
        fed(encoding, PACKERS[encoding](b"hello") + b"no such thing", step=step)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_parts_are_counted(encoding):
    part = PACKERS[encoding](b"")
    assert fed(encoding, part * MOST_PARTS).content() == b""
    for packed in (encoding, f"{encoding}, zstd"):
        many = part * (MOST_PARTS + 1)
        with pytest.raises(AnswerRefusedError, match="more than 1000 parts"):
            fed(packed, many if packed == encoding else PACKERS["zstd"](many))


def test_a_window_that_would_take_too_much_memory_is_refused():
    wide = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    data = stream.compress(TEXT) + stream.flush()
    with pytest.raises(AnswerRefusedError, match="compression is broken"):
        fed("zstd", data)


def test_bytes_that_stand_for_nothing_are_counted():
    stream = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    empty = stream.flush(zlib.Z_FULL_FLUSH) + b"\x00\x00\x00\xff\xff" * 100_000
    with pytest.raises(AnswerRefusedError, match="longer than"):
        fed("gzip", empty, 100_000)


@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip, gzip", "br, gzip, zstd, deflate", "x" * 1000])
def test_what_was_not_asked_for_is_refused(encoding):
    with pytest.raises(AnswerRefusedError) as caught:
        Body(encoding, 100)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("encoding", ["identity", *PACKERS])
def test_what_is_too_long_may_be_cut(encoding):
    data = TEXT if encoding == "identity" else PACKERS[encoding](TEXT)
    body = fed(encoding, data, 1000, cut=True)
    assert (body.content(), body.full) == (TEXT[:1000], True)
