"""The stack with the real Kafka and the real Valkey."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisDownError

from backbone.settings import Settings
from barnabas.errors import HomeInUseError, LocalStackError, NotRunningError, PortTakenError
from barnabas.local import control, foreground
from barnabas.local.child import end_leftovers
from barnabas.local.display import Row, Silent, State
from barnabas.local.home import Home
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.stack

LIMIT = 60.0


class Seen(Silent):
    """Keeps the name of each process or step that became ready, as often as it did."""

    def __init__(self) -> None:
        self.ready: list[str] = []

    def show(self, row: Row) -> None:
        if row.state is State.READY:
            self.ready.append(row.name)


async def until(true: Callable[[], Any]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(LIMIT):
        while not true():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.05)


async def _records(bootstrap: str, topic: str) -> int:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap) as consumer, asyncio.timeout(LIMIT):
        partition = TopicPartition(topic, 0)
        return int((await consumer.end_offsets([partition]))[partition])


async def _kept(url: str) -> Any:
    """Return what Redis kept, once it answers."""
    async with Redis.from_url(url) as redis, asyncio.timeout(LIMIT):
        while True:
            try:
                return await redis.get("kept")
            except RedisDownError:
                await asyncio.sleep(0.05)


async def test_the_shared_stack_serves_and_says_where_it_is(stack: LocalStack, settings: Settings) -> None:
    running = stack.home.read_running()
    assert running is not None
    assert running.ready
    assert running.pid == os.getpid()
    assert running.kafka_bootstrap == settings.kafka_bootstrap == stack.kafka_bootstrap
    assert set(running.children) == {"kafka", "valkey"}
    assert {"kafka-jars", "kafka-storage", "kafka", "valkey", "topics"} == {name for name, _seconds in stack.phases}
    brokers = await asyncio.to_thread(
        lambda: AdminClient({"bootstrap.servers": stack.kafka_bootstrap}).list_topics(timeout=10)
    )
    assert f"{settings.topic_prefix}tasks.urgent" in brokers.topics
    async with Redis.from_url(stack.redis_url) as redis:
        assert (await redis.config_get("appendonly"))["appendonly"] == "yes"


async def test_a_home_in_use_is_refused_and_what_runs_goes_on(stack: LocalStack) -> None:
    with pytest.raises(HomeInUseError, match=str(os.getpid())):
        await LocalStack(Settings(home=stack.home.path, **FREE_PORTS), only=("valkey",)).start()
    assert stack.home.read_running() is not None
    async with Redis.from_url(stack.redis_url) as redis:
        assert await redis.ping()


async def test_a_taken_port_is_told_before_anything_starts(stack: LocalStack, tmp_path: Path) -> None:
    taken = {**FREE_PORTS, "local_valkey_port": stack.ports.valkey}
    with pytest.raises(PortTakenError, match=f"port {stack.ports.valkey} .*valkey-server.*BARNABAS_LOCAL_VALKEY_PORT"):
        await LocalStack(Settings(home=tmp_path / "home", **taken), only=("kafka", "valkey")).start()
    assert not (tmp_path / "home" / "logs" / "kafka.log").exists()


def test_a_process_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="no process 'kafak'"):
        LocalStack(Settings(home=tmp_path), only=("kafak",))


async def test_both_servers_come_back_after_kill_9_with_their_data_and_after_a_restart_too(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", create_topics=False, **FREE_PORTS)
    seen = Seen()
    async with LocalStack(settings, only=("kafka", "valkey"), display=seen) as stack:
        admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap})
        await asyncio.to_thread(admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result, 30)
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap, acks="all") as producer:
            for n in range(20):
                await producer.send_and_wait("kept", str(n).encode())
        async with Redis.from_url(stack.redis_url) as redis:
            await redis.set("kept", "yes")

        before = {name: stack.pid(name) for name in ("kafka", "valkey")}
        for pid in before.values():
            assert pid
            os.kill(pid, signal.SIGKILL)
        await until(lambda: all(seen.ready.count(name) == 2 for name in before))
        assert all(stack.pid(name) != pid for name, pid in before.items())
        assert await _records(stack.kafka_bootstrap, "kept") == 20
        assert await _kept(stack.redis_url) == b"yes"

    # All ports are other ones now, the data the same.
    async with LocalStack(settings, only=("kafka", "valkey")) as again:
        assert await _records(again.kafka_bootstrap, "kept") == 20
        async with Redis.from_url(again.redis_url) as redis:
            assert await redis.get("kept") == b"yes"
    assert again.home.read_running() is None


async def test_a_home_with_any_name_keeps_its_data_in_the_plainest_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    settings = Settings(home=tmp_path / "h ü \N{GRINNING FACE}", create_topics=False, **FREE_PORTS)
    async with LocalStack(settings, only=("kafka", "valkey")) as stack:
        admin = AdminClient({"bootstrap.servers": stack.kafka_bootstrap})
        await asyncio.to_thread(admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result, 30)
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap, acks="all") as producer:
            await producer.send_and_wait("kept", b"record")
        async with Redis.from_url(stack.redis_url) as redis:
            await redis.set("kept", "yes")
    assert (stack.home.kafka / "data" / "kept-0").is_dir()
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == [settings.home]
    async with LocalStack(settings, only=("kafka", "valkey")) as again:
        assert await _records(again.kafka_bootstrap, "kept") == 1
        assert await _kept(again.redis_url) == b"yes"


async def test_a_server_that_is_stopped_in_its_tracks_is_not_alive_and_is_again_when_it_goes_on(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", create_topics=False, **FREE_PORTS)
    async with LocalStack(settings, only=("kafka", "valkey")) as stack:
        for name in ("kafka", "valkey"):
            probe, pid = stack._table[name].probe, stack.pid(name)
            assert pid
            assert await probe.alive()
            os.kill(pid, signal.SIGSTOP)
            async with asyncio.timeout(LIMIT):
                while await probe.alive():
                    pass  # a thread that runs on another core stops a moment later
            os.kill(pid, signal.SIGCONT)
            async with asyncio.timeout(LIMIT):
                while not await probe.alive():
                    pass


async def test_a_home_that_can_not_be_written_any_more_does_not_end_what_runs(tmp_path: Path) -> None:
    shown: list[Row] = []
    seen = Seen()
    seen.show = lambda row: (shown.append(row), Seen.show(seen, row))[0]  # type: ignore[method-assign]
    async with LocalStack(Settings(home=tmp_path / "home", **FREE_PORTS), only=("valkey",), display=seen) as stack:
        (stack.home.path / "stack.json.new").mkdir()
        pid = stack.pid("valkey")
        assert pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: seen.ready.count("valkey") == 2)
        assert [row.state for row in shown if row.name == "home"] == [State.FAILED]
        (stack.home.path / "stack.json.new").rmdir()


async def test_up_ends_by_its_event_and_tells_when_it_is_ready(tmp_path: Path) -> None:
    until_, seen = asyncio.Event(), []

    async def on_ready(stack: LocalStack) -> None:
        seen.append((stack.pid("valkey"), stack.redis_url))
        until_.set()

    settings = Settings(home=tmp_path / "home", **FREE_PORTS)
    async with asyncio.timeout(LIMIT):
        await foreground.up(settings, until=until_, on_ready=on_ready, only=("valkey",))
    [(pid, _url)] = seen
    assert pid
    assert Home(settings.home).read_running() is None


async def _command(home: Path, *arguments: str) -> asyncio.subprocess.Process:
    ports = {f"BARNABAS_{name.upper()}": "0" for name in FREE_PORTS}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "barnabas.local", *arguments),
        env={**os.environ, **ports, "BARNABAS_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _ran(home: Path, *arguments: str) -> tuple[int | None, str, str]:
    process = await _command(home, *arguments)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_stack_in_the_background_is_brought_down_from_elsewhere(tmp_path: Path) -> None:
    home = tmp_path / "home"
    status, out, err = await _ran(home, "up", "--detach", "--json", "--only", "valkey")
    assert status == 0, err
    assert '"ready":true' in out
    assert "valkey ready in" in err
    running = Home(home).read_running()
    assert running is not None

    status, out, err = await _ran(home, "up", "--detach", "--only", "valkey")
    assert (status, out) == (1, "")
    assert f"process {running.pid} owns" in err

    status, out, err = await _ran(home, "reset", "--yes", "--json")
    assert (status, out) == (1, "")
    assert '"code":"local.home_in_use"' in err

    status, out, err = await _ran(home, "down", "--json")
    assert (status, out) == (0, f'{{"stopped":{running.pid}}}\n'), err
    assert Home(home).read_running() is None
    with pytest.raises(NotRunningError):
        control.down(Home(home))

    assert (await _ran(home, "backup", str(tmp_path / "b.tar.gz")))[0] == 0
    assert (await _ran(home, "reset", "--yes"))[0] == 0
    assert (await _ran(home, "restore", str(tmp_path / "b.tar.gz"), "--json"))[0] == 0
    assert (await _ran(home, "no-such-command"))[0] == 2


async def test_a_stack_in_the_background_keeps_its_own_log_as_it_keeps_the_others(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    status, _out, err = await _ran(home.path, "up", "--detach", "--only", "valkey")
    assert status == 0, err
    try:
        log = home.logs / control.SUPERVISOR_LOG
        assert "valkey ready in" in log.read_text()
        log.rename(tmp_path / "full")  # as it is when it is full
        running = home.read_running()
        assert running is not None
        os.kill(running.children["valkey"][0], signal.SIGKILL)
        await until(lambda: log.exists() and "valkey ready" in log.read_text())
    finally:
        status, _out, err = await _ran(home.path, "down")
    assert status == 0, err


async def test_a_home_that_can_not_be_written_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments in (("up",), ("up", "--detach")):
        status, out, err = await _ran(tmp_path / "file" / "home", *arguments)
        assert (status, out) == (1, "")
        assert "file/home can't be written (Not a directory)" in err
        assert "Traceback" not in err


async def test_of_two_starts_at_once_one_runs_and_the_other_names_it(tmp_path: Path) -> None:
    both = [await _command(tmp_path / "home", "up", "--only", "valkey") for _ in range(2)]
    ended = {asyncio.create_task(process.communicate()): process for process in both}
    async with asyncio.timeout(LIMIT):
        (first,), _rest = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    loser = ended.pop(first)
    ((running, winner),) = ended.items()
    assert loser.returncode == 1
    assert f"process {winner.pid} owns" in first.result()[1].decode()
    await until(lambda: (now := Home(tmp_path / "home").read_running()) and now.ready)
    winner.send_signal(signal.SIGINT)
    _out, err = await running
    assert winner.returncode == 0, err


async def test_what_keeps_a_stack_in_the_background_from_starting_is_told_as_it_is(
    stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARNABAS_LOCAL_VALKEY_PORT", str(stack.ports.valkey))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "barnabas.local", "up", "--detach", "--json", "--only", "valkey"),
        env={**os.environ, "BARNABAS_HOME": str(tmp_path / "home")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    [told] = [json.loads(line)["error"] for line in err.decode().splitlines() if line.startswith("{")]
    assert (process.returncode, out) == (1, b"")
    assert (told["code"], told["field"]) == ("local.port_taken", "BARNABAS_LOCAL_VALKEY_PORT")
    assert str(stack.ports.valkey) in told["message"]


async def test_ctrl_c_drains_and_exits_well(tmp_path: Path) -> None:
    process = await _command(tmp_path / "home", "up", "--only", "valkey")
    assert process.stderr
    said = b""
    async with asyncio.timeout(LIMIT):
        while b"ready at" not in said:
            said += await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _out, rest = await process.communicate()
    assert process.returncode == 0
    assert b"valkey stopped" in rest


async def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    process = await _command(tmp_path / "home", "up", "--only", "kafka")
    assert process.stderr
    async with asyncio.timeout(LIMIT):
        while b"kafka starting" not in await process.stderr.readline():
            pass
        await until(lambda: (running := Home(tmp_path / "home").read_running()) and running.children)
        left = Home(tmp_path / "home").read_running()
        process.send_signal(signal.SIGINT)
        _out, rest = await process.communicate()
    assert process.returncode == 0
    assert b"kafka stopped" in rest
    assert left
    assert await asyncio.to_thread(end_leftovers, left.children.values()) == 0


async def test_after_a_supervisor_that_was_killed_the_next_start_finds_everything_free(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = await _command(home.path, "up", "--json", "--only", "valkey")
    assert first.stdout
    async with asyncio.timeout(LIMIT):
        await first.stdout.readline()
    first.kill()
    await first.communicate()
    left = home.read_running()
    assert left is not None
    settings = Settings(home=home.path, **{**FREE_PORTS, "local_valkey_port": int(left.redis_url.split(":")[2][:-2])})
    async with LocalStack(settings, only=("valkey",)) as stack:
        assert stack.redis_url == left.redis_url
        assert stack.pid("valkey") != left.children["valkey"][0]
