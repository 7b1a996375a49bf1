"""Uploads, downloads and large payloads over a real edge."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid

import httpx
import msgspec
import pytest
from obstore.exceptions import GenericError

from backbone.blobs import Blobs
from backbone.clock import now_ms
from connectors.payloads import AT_ONCE
from schemas.errors import Problem
from schemas.records import DeadLetter, Status
from schemas.tiers import Tier
from schemas.topics import DEAD_LETTERS, TASKS
from tests.connectors.conftest import edge_settings, edge_up, task_of
from tests.support import Log, produce, until

pytestmark = pytest.mark.stack
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
LARGE = {"text": "x" * 2_000_000}
BYTES = {"Content-Type": "application/octet-stream"}
MOST = 6 * 2**20


@pytest.fixture(scope="module")
async def config(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    return edge_settings(settings, folder, home=folder, max_upload_bytes=MOST)


@pytest.fixture(scope="module")
def old(config):
    """Return a blob whose time was over before the edge started."""
    file = config.home / "blobs" / "blobs" / "somebody" / "old"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"old")
    os.utime(file, (1_000_000, 1_000_000))
    return file


@pytest.fixture(scope="module")
async def edge(config, old, services):
    await services.announce("test.text", TEXT)
    async with edge_up(config) as caller:
        yield caller


@pytest.fixture
def blobs(config) -> Blobs:
    return Blobs.of(config)


async def stream(data: bytes, size: int = 100_000):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def uploaded(edge, data):
    response = await edge.http.post("/v1/blobs", content=data, headers=BYTES)
    assert response.status_code == 201, response.text
    return response.json()


def held(config) -> list:
    return [path for path in (config.home / "blobs").rglob("*") if path.is_file()]


async def test_what_is_uploaded_comes_back_with_its_length_and_etag(edge):
    data = os.urandom(1_500_000)
    sha256 = hashlib.sha256(data).hexdigest()
    for content in (data, stream(data)):  # with a Content-Length, and chunked
        response = await edge.http.post("/v1/blobs", content=content, headers=BYTES)
        blob = response.json()
        assert (response.status_code, blob) == (
            201,
            {"ref": f"blob:sha256:{sha256}", "size": len(data), "sha256": sha256},
        )
    got = await edge.http.get(response.headers["Location"])
    assert (got.content, got.headers["Content-Length"], got.headers["ETag"]) == (data, str(len(data)), f'"{sha256}"')
    assert got.headers["Content-Disposition"] == "attachment"
    same = await edge.http.get(response.headers["Location"], headers={"If-None-Match": got.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")


async def test_an_edge_sweeps_what_is_old(edge, old):
    async def gone() -> bool:
        return not old.exists()

    await until(gone)


async def test_a_blob_is_its_owner_s_and_no_stranger_s(edge, blobs):
    theirs = (await blobs.put("somebody else", b"secret")).ref
    for ref in (theirs, "blob:sha256:" + "0" * 64, "nonsense", "..%2F..%2Fetc%2Fpasswd"):
        response = await edge.http.get(f"/v1/blobs/{ref}")
        assert response.status_code == 404
    assert (await edge.http.get(f"/v1/blobs/{theirs}")).json()["code"] == "blob.missing"
    assert (await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload_ref": theirs})).status_code == 404
    for method, path in (("GET", f"/v1/blobs/{theirs}"), ("POST", "/v1/blobs")):
        response = await edge.http.request(method, path, headers={"Authorization": "Bearer wrong"})
        assert response.status_code == 401


async def test_an_upload_over_the_limit_is_refused_before_it_comes_or_as_soon_as_it_is(edge, config):
    before = held(config)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    head = f"POST /v1/blobs HTTP/1.1\r\nHost: x\r\nAuthorization: {edge.headers['Authorization']}\r\n"
    writer.write(f"{head}Content-Length: {MOST + 1}\r\n\r\n".encode())  # and not one byte of it
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 20)
    writer.close()
    response = await edge.http.post("/v1/blobs", content=stream(bytes(MOST + 1)), headers=BYTES)
    assert (response.status_code, response.json()["code"]) == (413, "blob.too_large")
    assert held(config) == before


async def test_an_upload_that_breaks_off_leaves_nothing(edge, config):
    before = held(config)
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    head = f"POST /v1/blobs HTTP/1.1\r\nHost: x\r\nAuthorization: {edge.headers['Authorization']}\r\n"
    writer.write(f"{head}Content-Length: 2000000\r\n\r\n".encode() + bytes(1_000_000))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    data = os.urandom(10)
    await uploaded(edge, data)

    async def cleared() -> bool:
        return len(held(config)) == len(before) + 1

    await until(cleared)


async def test_a_full_disk_is_503_and_may_pass(edge, monkeypatch):
    async def full(*_args, **_more):
        raise GenericError("No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("backbone.blobs.obstore.put_async", full)
        patch.setattr("backbone.blobs.obstore.rename_async", full)
        for response in (
            await edge.http.post("/v1/blobs", content=b"x", headers=BYTES),
            await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload": LARGE}),
        ):
            assert (response.status_code, response.json()["code"]) == (503, "blob.unavailable")
            assert response.headers["Retry-After"]
        small = await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload": {"text": "x"}})
        assert small.status_code == 202
    await uploaded(edge, b"x")


async def test_a_download_of_changed_bytes_never_looks_whole(edge, config, blobs):
    data = os.urandom(1_000_000)
    ref = (await uploaded(edge, data))["ref"]
    [file] = [path for path in held(config) if path.name == ref.rpartition(":")[2]]
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(httpx.RemoteProtocolError):
        await edge.http.get(f"/v1/blobs/{ref}")
    file.write_bytes(b"")
    response = await edge.http.get(f"/v1/blobs/{ref}")
    assert (response.status_code, response.json()["code"]) == (409, "blob.changed")
    response = await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload_ref": ref})
    assert (response.status_code, response.json()["code"]) == (409, "blob.changed")


async def test_a_large_payload_is_accepted_and_its_record_carries_a_ref(edge, settings, blobs):
    async with Log(settings, TASKS[Tier.BATCH]) as log:
        response = await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload": LARGE})
        assert response.status_code == 202, response.text
        [task] = [task for task in await log.until(bool) if task.id == response.json()["id"]]
    assert task.payload == b"{}"
    assert json.loads(await blobs.get("local", task.payload_ref)) == LARGE
    wrong = await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload": {"text": ["x" * 1_000_000]}})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "payload.text")
    larger = await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload": {"text": "x" * MOST}})
    assert (larger.status_code, larger.json()["field"]) == (413, "payload")


async def test_a_payload_may_be_uploaded_first_and_is_held_against_its_kind(edge, settings):
    good = (await uploaded(edge, json.dumps(LARGE).encode()))["ref"]
    async with Log(settings, TASKS[Tier.BATCH]) as log:
        response = await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload_ref": good})
        assert response.status_code == 202, response.text
        [task] = [task for task in await log.until(bool) if task.id == response.json()["id"]]
        assert task.payload_ref == good
        async with edge.socket() as socket:
            receipt = (await socket.ask("accepted", type="submit", kind="test.text", payload_ref=good))["task"]
        await log.until(lambda tasks: any((task.id, task.payload_ref) == (receipt["id"], good) for task in tasks))
    for data, field in ((b'{"text": 5}', "payload.text"), (b"[1]", "payload_ref"), (b"\xff", "payload_ref")):
        ref = (await uploaded(edge, data))["ref"]
        response = await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload_ref": ref})
        assert (response.status_code, response.json()["field"]) == (422, field)


async def test_too_many_lists_are_refused_before_they_are_read(edge):
    wide = b'{"text": [' + b"[]," * 1_900_000 + b"[]]}"
    ref = (await uploaded(edge, wide))["ref"]
    response = await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload_ref": ref})
    assert (response.status_code, response.json()["field"]) == (422, "payload_ref")
    body = b'{"kind": "test.text", "payload": ' + wide + b"}"
    response = await edge.http.post("/v1/tasks", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["field"]) == (400, "body")


async def test_of_uploaded_payloads_only_some_are_held_at_once(edge, monkeypatch):
    ref = (await uploaded(edge, json.dumps(LARGE).encode()))["ref"]
    held_now, most, get = 0, 0, Blobs.get

    async def counted(self, owner, ref):
        nonlocal held_now, most
        held_now += 1
        most = max(most, held_now)
        try:
            return await get(self, owner, ref)
        finally:
            held_now -= 1

    monkeypatch.setattr(Blobs, "get", counted)
    body = {"kind": "test.text", "payload_ref": ref}
    responses = await asyncio.gather(*(edge.http.post("/v1/tasks", json=body) for _ in range(12)))
    assert {response.status_code for response in responses} == {202}
    assert 1 < most <= AT_ONCE


async def test_an_idempotency_key_holds_for_the_bytes_of_a_large_payload(edge):
    key = {"Idempotency-Key": str(uuid.uuid4())}

    async def submit(**body):
        return await edge.http.post("/v1/tasks", json={"kind": "test.text", **body}, headers=key)

    first, again = await submit(payload=LARGE), await submit(payload=LARGE)
    assert (first.status_code, again.json()) == (202, first.json())
    ref = (await uploaded(edge, b'{"text": "other"}'))["ref"]
    for other in ({"payload": {"text": LARGE["text"] + "y"}}, {"payload_ref": ref}):
        response = await submit(**other)
        assert (response.status_code, response.json()["code"]) == (409, "idempotency.conflict")


async def test_a_large_payload_on_a_socket_is_taken_as_far_as_a_frame_goes(edge, settings):
    async with edge.socket() as socket, Log(settings, TASKS[Tier.BATCH]) as log:
        receipt = (await socket.ask("accepted", type="submit", kind="test.text", payload=LARGE))["task"]
        [task] = [task for task in await log.until(bool) if task.id == receipt["id"]]
        assert task.payload_ref is not None


async def test_a_result_that_is_a_blob_is_named_by_state_and_event(edge, services, blobs):
    async with edge.socket() as socket:
        receipt = (await socket.ask("accepted", type="submit", kind="test.text", payload={"text": "x"}))["task"]
        ref = (await blobs.put("local", b'{"much": true}')).ref
        await services.say(task_of(receipt), Status.SUCCEEDED, result_ref=ref)
        _, [event] = await socket.hear_all()
    assert (event.get("result"), event["result_ref"]) == (None, ref)
    state = await edge.until(f"/v1/tasks/{receipt['id']}", lambda body: body["status"] == "succeeded")
    assert (state.get("result"), state["result_ref"]) == (None, ref)
    assert (await edge.http.get(f"/v1/blobs/{state['result_ref']}")).json() == {"much": True}


async def test_a_dead_letter_shows_its_ref_and_is_replayed_with_it(edge, settings, blobs):
    async with Log(settings, TASKS[Tier.BATCH]) as log:
        sent = await edge.http.post("/v1/tasks", json={"kind": "test.text", "payload": LARGE})
        [task] = [task for task in await log.until(bool) if task.id == sent.json()["id"]]
        letter = DeadLetter(at=now_ms(), error=Problem("test", "no"), task=task)
        await produce(settings, DEAD_LETTERS, task.key, letter)
        path = f"/v1/dead-letters/{task.id}"
        shown = await edge.until(path, lambda body: body.get("id") == task.id)
        assert (shown["payload_ref"], shown.get("payload")) == (task.payload_ref, None)
        replay = await edge.http.post(f"{path}/replay")
        assert replay.status_code == 202, replay.text
        await log.until(lambda tasks: any(one.id == replay.json()["id"] for one in tasks))
        [again] = [one for one in log.records if one.id == replay.json()["id"]]
        assert (again.payload_ref, again.payload) == (task.payload_ref, b"{}")
    gone = msgspec.structs.replace(task, id=str(uuid.uuid4()), payload_ref="blob:sha256:" + "0" * 64)
    await produce(settings, DEAD_LETTERS, gone.key, msgspec.structs.replace(letter, task=gone))
    await edge.until(f"/v1/dead-letters/{gone.id}", lambda body: body.get("id") == gone.id)
    response = await edge.http.post(f"/v1/dead-letters/{gone.id}/replay")
    assert (response.status_code, response.json()["code"]) == (404, "blob.missing")
