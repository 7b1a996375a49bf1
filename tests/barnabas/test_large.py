"""What is too large for a record, from the client through a real edge and tiers, and back."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from barnabas.client import Client
from barnabas.errors import ClientError, EdgeError, NoStackError, TaskFailedError, UsageError
from barnabas.exit_codes import ExitCode
from barnabas.payload import LARGE
from barnabas.replies import Event, Step
from barnabas.sync import SyncClient
from schemas.tiers import Tier
from tests.barnabas import large_handlers
from tests.barnabas.tools import barnabas
from tests.support import apart, beside, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from barnabas.local.stack import LocalStack

pytestmark = [pytest.mark.stack, pytest.mark.slow]
MIB = 2**20
SAY = Step(kind="large.mirror", tier=Tier.BATCH, payload={"text": "{{ result.text }}"})


@pytest.fixture(scope="module")
async def house(stack: LocalStack, tmp_path_factory) -> AsyncIterator[LocalStack]:
    """Two tiers that have the kind, the timers, and an edge."""
    settings = await apart(stack.settings, "large-tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", large_handlers.install(tmp_path_factory.mktemp("installed")))
        home = tmp_path_factory.mktemp("house") / "home"
        async with beside(settings, home, "streams-realtime", "streams-batch", "edge", edge_port=0) as running:
            async with Client(running.edge_url, running.home.api_key.read_text().strip()) as client:

                async def announced() -> bool:
                    return any(kind.kind == "large.mirror" for kind in await client.kinds())

                await until(announced, limit=60)
            yield running


@pytest.fixture
async def client(house) -> AsyncIterator[Client]:
    async with Client(house.edge_url, house.home.api_key.read_text().strip()) as client:
        yield client


async def test_a_payload_and_a_result_of_2_mib(client):
    text = os.urandom(MIB).hex()
    heard = []
    result = await client.result(await client.submit("large.mirror", {"text": text}), timeout=60, watch=heard.append)
    assert result.value == {"text": text, "size": 2 * MIB}
    end = heard[-1]
    assert isinstance(end, Event)
    assert (end.result, end.result_ref is not None) == (None, True)
    state = await client.state(result.task)
    assert (state.result, state.result_ref) == (None, end.result_ref)
    assert json.loads(await client.download(end.result_ref)) == result.value


async def test_a_chain_goes_on_with_what_it_finds_in_a_large_result(client):
    text = "x" * MIB
    receipt = await client.submit("large.mirror", {"text": text, "times": 2}, then=[SAY, SAY])
    result = await client.result(receipt, timeout=90)
    assert result.value == {"text": text * 2, "size": 2 * MIB}


async def test_an_uploaded_payload_and_an_uploaded_file(client, tmp_path):
    payload = tmp_path / "payload.json"
    payload.write_text(json.dumps({"text": "x" * MIB}))
    blob = await client.upload(payload)
    assert blob.size == payload.stat().st_size
    result = await client.result(await client.submit("large.mirror", payload_ref=blob.ref), timeout=60)
    assert result.value["size"] == MIB
    file = await client.upload(os.urandom(3 * MIB))
    result = await client.result(await client.submit("large.mirror", {"raw_ref": file.ref}), timeout=60)
    assert result.value["text"] == f"{3 * MIB} bytes"


async def test_a_blob_that_went_away_fails_its_task_for_good(client, house):
    file = await client.upload(b"here today")
    for path in (house.settings.home / "blobs").rglob(file.sha256):
        path.unlink()
    with pytest.raises(TaskFailedError) as failed:
        await client.result(await client.submit("large.mirror", {"raw_ref": file.ref}), timeout=60)
    assert (failed.value.code, failed.value.retryable) == ("blob.missing", False)
    with pytest.raises(EdgeError) as missing:
        await client.download(file.ref)
    assert missing.value.code == "blob.missing"


async def test_what_is_damaged_in_the_store_is_never_taken_for_a_result(client, house):
    for data in (b"right", bytes(3 * MIB)):
        blob = await client.upload(data)
        for path in (house.settings.home / "blobs").rglob(blob.sha256):
            path.write_bytes(data[:-1] + b"!")
        with pytest.raises(ClientError) as damaged:
            await client.download(blob.ref)
        assert not isinstance(damaged.value, NoStackError)


async def test_a_file_that_can_not_be_read_is_said_so(client, tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        await client.upload(tmp_path / "none")


def test_the_client_without_await_does_the_same(house):
    with SyncClient(house.edge_url, house.home.api_key.read_text().strip()) as client:
        blob = client.upload(b"bytes")
        assert client.download(blob.ref) == b"bytes"
        receipt = client.submit("large.mirror", {"text": "x" * MIB})
        assert client.result(receipt, timeout=60).value["size"] == MIB


async def test_the_command_uploads_a_large_file_and_a_small_one_travels_in_the_payload(house, tmp_path):
    file = tmp_path / "letter.eml"
    file.write_bytes(b"\xff" + os.urandom(LARGE))
    done = await barnabas(house, "submit", "large.mirror", f"@{file}", "--json")
    assert done.code == ExitCode.OK, done.err
    assert json.loads(done.out)["text"] == f"{LARGE + 1} bytes"
    file.write_text("small")
    done = await barnabas(house, "submit", "large.mirror", f"@{file}", "--json")
    assert json.loads(done.out)["text"] == "small"
    large = tmp_path / "payload"
    large.write_text(json.dumps({"text": "x" * MIB}))
    done = await barnabas(house, "submit", "large.mirror", f"@{large}", "--json")
    assert json.loads(done.out)["size"] == MIB


async def test_upload_prints_the_ref(house, tmp_path, client):
    file = tmp_path / "file"
    file.write_bytes(b"bytes of a file")
    done = await barnabas(house, "upload", str(file))
    assert done.code == ExitCode.OK, done.err
    assert await client.download(done.out.strip()) == b"bytes of a file"
    done = await barnabas(house, "upload", "-", "--json", stdin="piped")
    assert json.loads(done.out)["size"] == 5
    done = await barnabas(house, "upload", str(tmp_path / "none"), "--json")
    assert done.code == ExitCode.USAGE
