from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from confluent_kafka import Producer
from websockets.asyncio.client import connect

from barnabas.errors import EdgeError
from barnabas.exit_codes import ExitCode
from tests.barnabas.tools import barnabas, program, started

if TYPE_CHECKING:
    from barnabas.client import Client
    from barnabas.local.stack import LocalStack
    from barnabas.replies import State

ROOT = Path(__file__).parents[2]
MILLISECONDS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
README = (ROOT / "README.md").read_text()


async def test_submit_waits_and_prints_the_result_alone(house: LocalStack) -> None:
    done = await barnabas(house, "submit", "cron.parse", '{"expression": "@daily"}', "--tier", "realtime")
    assert done.code == ExitCode.OK, done.err
    assert json.loads(done.out)["expression"] == "@daily"
    assert len(done.out.splitlines()) == 1
    assert "accepted" in done.err
    assert "succeeded" in done.err


async def test_submit_reads_a_pipe_and_need_not_wait(house: LocalStack, client: Client) -> None:
    done = await barnabas(house, "submit", "cron.parse", "-", "--no-wait", stdin='{"expression": "@daily"}')
    assert done.code == ExitCode.OK, done.err
    assert (await client.result(done.out.strip(), timeout=60)).kind == "cron.parse"
    done = await barnabas(house, "submit", "cron.parse", '{"expression": "@daily"}', "--no-wait", "--json")
    receipt = json.loads(done.out)
    assert receipt["status"] == "accepted"
    assert re.fullmatch(MILLISECONDS, receipt["created_at"])


async def test_a_mail_is_submitted_as_the_file_that_it_is(house: LocalStack) -> None:
    mail = ROOT / "barnabas" / "samples" / "invoice.eml"
    done = await barnabas(house, "submit", "mail.classify", f"@{mail}", "--json")
    assert done.code == ExitCode.OK, done.err
    assert json.loads(done.out)["subject"]
    done = await barnabas(house, "submit", "cron.parse", f"@{mail}", "--json")
    assert done.code == ExitCode.USAGE
    assert json.loads(done.err)["error"]["field"] == "payload"


async def test_tail_prints_frames_as_the_websocket_says_them(house: LocalStack, client: Client) -> None:
    for payload in ({"expression": "@daily"}, {"expression": "* * * * 99"}):
        receipt = await client.submit("cron.parse", payload)
        done = await barnabas(house, "tail", receipt.id, "--json")
        heard = []
        async with (
            connect(client.endpoint.websocket, additional_headers=client.endpoint.headers, proxy=None) as socket,
            asyncio.timeout(60),
        ):
            await socket.send(json.dumps({"type": "subscribe", "task": receipt.id}))
            while not heard or heard[-1].get("status") not in {"succeeded", "failed"}:
                heard.append(json.loads(await socket.recv()))
        assert heard.pop(0)["type"] == "subscribed"
        assert [json.loads(line) for line in done.out.splitlines()] == heard


async def test_a_task_that_failed_is_exit_code_1(house: LocalStack) -> None:
    done = await barnabas(house, "submit", "cron.parse", '{"expression": "* * * * 99"}', "--json")
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    problem = json.loads(done.err.splitlines()[-1])["error"]
    assert problem["code"] == "payload.invalid"
    assert "expression" in problem["field"]


async def test_a_task_that_did_not_end_in_time_is_exit_code_4_and_can_be_cancelled(
    house: LocalStack, client: Client
) -> None:
    done = await barnabas(
        house, "submit", "cron.parse", '{"expression": "@daily"}', "--tier", "low", "--timeout", "0.1"
    )
    assert done.code == ExitCode.TIMEOUT
    task = done.err.split()[0]
    cancelled = await barnabas(house, "cancel", task)
    assert json.loads(cancelled.out)["status"] == "cancelled"
    assert (await barnabas(house, "cancel", task)).code == ExitCode.FAILED
    assert (await client.state(task)).status == "cancelled"


async def test_tail_tells_a_task_from_its_beginning(house: LocalStack, client: Client) -> None:
    receipt = await client.submit("cron.parse", {"expression": "@daily"})
    done = await barnabas(house, "tail", receipt.id)
    events = [json.loads(line) for line in done.out.splitlines()]
    assert {event["task"] for event in events} == {receipt.id}
    assert (events[-1]["type"], events[-1]["status"]) == ("event", "succeeded")
    assert (await barnabas(house, "tail", "0199d3a4-5c1e-7a60-8f43-0242ac120002")).code == ExitCode.FAILED


async def test_an_interrupt_is_exit_code_130(house: LocalStack, client: Client) -> None:
    async with started(house, "tail") as tail, asyncio.timeout(60):
        line = asyncio.create_task(tail.stdout.readline())
        while not line.done():  # what was submitted before the subscription stood is not told
            await client.result(await client.submit("cron.parse", {"expression": "@daily"}))
        assert json.loads(await line)["kind"] == "cron.parse"
        tail.send_signal(signal.SIGINT)
        assert await tail.wait() == ExitCode.INTERRUPTED


async def test_kinds_are_listed(house: LocalStack) -> None:
    kinds = [json.loads(line) for line in (await barnabas(house, "kinds")).out.splitlines()]
    assert {"cron.parse", "mail.classify", "web.scrape"} <= {kind["kind"] for kind in kinds}


async def test_topics_are_listed_with_what_they_hold(house: LocalStack, client: Client) -> None:
    await client.result(await client.submit("cron.parse", {"expression": "@daily"}), timeout=60)
    listed = {topic["name"]: topic for topic in map(json.loads, (await barnabas(house, "topics")).out.splitlines())}
    tasks = listed["barnabas.tasks.realtime"]
    assert (tasks["record"], tasks["partitions"]) == ("Task", 16)
    assert tasks["end_offsets"] > 0
    assert tasks["lag"]


async def test_doctor_finds_the_stack_well(house: LocalStack) -> None:
    done = await barnabas(house, "doctor", "--json")
    checks = {check["name"]: check for check in map(json.loads, done.out.splitlines())}
    assert {name for name, check in checks.items() if not check["ok"]} <= {"model"}
    assert {"Kafka", "Valkey", "edge", "clock", "streams.realtime"} <= checks.keys()


async def test_the_paths_on_the_page_are_those_of_the_edge(house: LocalStack) -> None:
    async with httpx.AsyncClient(trust_env=False) as plain:
        api = (await plain.get(f"{house.edge_url}/openapi.json")).json()
    real = {(method.upper(), re.sub(r"\{\w+\}", "{id}", path)) for path, of in api["paths"].items() for method in of}
    page = (ROOT / "docs/protocol.md").read_text()
    assert set(re.findall(r"^\| `([A-Z]+) (/\S+)` \|", page, re.MULTILINE)) == real


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def _here(source: str, house: LocalStack) -> str:
    """Return a block of the README with the addresses of this run's stack."""
    return source.replace("http://127.0.0.1:8420", str(house.edge_url)).replace(
        "127.0.0.1:29092", house.kafka_bootstrap
    )


async def test_the_readmes_python_does_what_it_says(house: LocalStack) -> None:
    sources = [source for source in _blocks("python") if ".stream(" not in source]
    assert len(sources) == 3
    for source in sources:
        async with asyncio.timeout(60):
            done = await program(house, sys.executable, "-c", _here(source, house))
            while "no such task" in done.err:  # as the page says: it is known a moment after
                done = await program(house, sys.executable, "-c", _here(source, house))
        assert done.code == 0, done.err
        assert "Every fifth minute" in done.out or "succeeded" in done.out, done.out


async def test_the_readmes_curl_does_what_it_says(house: LocalStack) -> None:
    sources = [source for source in _blocks("sh") if "curl" in source]
    assert len(sources) == 2
    first, second = [await program(house, "sh", "-c", _here(source, house)) for source in sources]
    assert json.loads(first.out)["status"] == "accepted"
    assert json.loads(second.out)["kind"] == "cron.parse"


async def test_the_readmes_kcat_sends_what_becomes_a_task(house: LocalStack, client: Client) -> None:
    source = next(source for source in _blocks("sh") if "kcat" in source)
    echoed, topic, header = re.search(r"echo '(.*?)' \|.*-t (\S+).*-H (\S+)", source, re.DOTALL).groups()
    task = str(uuid.uuid4())
    producer = Producer({"bootstrap.servers": house.kafka_bootstrap, "partitioner": "murmur2_random"})
    producer.produce(topic, echoed.replace("'$ID'", task), key=task, headers=[tuple(header.split("="))])
    await asyncio.to_thread(producer.flush, 30)
    async with asyncio.timeout(60):
        while (state := await _state(client, task)) is None or state.status != "succeeded":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert state.topic == topic
    assert (await client.result(task, timeout=60)).value["expression"] == "*/5 * * * *"


async def _state(client: Client, task: str) -> State | None:
    """Return a task's state; None until its record has been read."""
    try:
        return await client.state(task)
    except EdgeError as error:
        assert error.code == "task.unknown"
        return None
