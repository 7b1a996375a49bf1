"""Writes the list of Kafka's jars that `jars.py` downloads and verifies; a maintainer runs it for a new release.

    python -m barnabas.local.pin > barnabas/local/kafka-4.3.1.sha256

It resolves the coordinates and all that they depend on, downloads each jar and prints `sha256  path`, the path being
the one in a Maven repository, so that `sha256sum -c` checks a repository by the same list.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import jgo
from jgo.maven import MavenContext

from barnabas.local.jars import KAFKA_VERSION, sha256_of

KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
# What Kafka logs through drops everything unless this backend stands beside it.
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def main() -> None:
    """Print the list, sorted by path."""
    # Resolved one after the other: together, the versions that the second's parent manages would win over Kafka's own.
    found = {(jar.groupId, jar.artifactId): jar for end in (LOGGING, KAFKA) for jar in jgo.resolve(end)}
    with TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder))
        jars = [
            context.project(*name).at_version(jar.version).artifact().resolve() for name, jar in sorted(found.items())
        ]
        lines = [f"{sha256_of(jar)}  {jar.relative_to(folder).as_posix()}" for jar in jars]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
