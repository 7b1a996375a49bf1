from __future__ import annotations

import logging
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from backbone.kafka import QUIET_SECONDS, Seldom
from backbone.settings import Settings
from barnabas.errors import UnreachableError
from barnabas.local.elsewhere import reach_kafka, reach_redis
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that answers nobody: it is bound, and nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


async def test_a_kafka_that_does_not_answer_is_named_without_a_word_of_librdkafka(
    silent: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnreachableError, match=silent) as caught:
        await reach_kafka(Settings(kafka_bootstrap=silent), limit=0.5)
    assert caught.value.field == "BARNABAS_KAFKA_BOOTSTRAP"
    assert "FAIL" not in capfd.readouterr().err


async def test_a_redis_that_does_not_answer_is_named_without_its_password(silent: str) -> None:
    with pytest.raises(UnreachableError, match=silent) as caught:
        await reach_redis(Settings(redis_url=SecretStr(f"redis://:secret@{silent}/0")))
    assert caught.value.field == "BARNABAS_REDIS_URL"
    assert "secret" not in str(caught.value)


async def test_nothing_is_started_where_a_server_elsewhere_does_not_answer(silent: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url=SecretStr(f"redis://{silent}/0"), **FREE_PORTS)
    with pytest.raises(UnreachableError):
        await LocalStack(settings, only=("kafka", "streams-low")).start()
    assert not list((tmp_path / "logs").iterdir())


def test_a_client_that_says_the_same_again_and_again_is_heard_seldom() -> None:
    now = 0.0
    seldom = Seldom(lambda: now, told_by=2)

    def passes(kind: str, client: str) -> bool:
        return bool(seldom.filter(logging.LogRecord("k", 3, "", 0, "%s [%s] %s", (kind, client, f"at {now}"), None)))

    assert passes("FAIL", "a")
    now = QUIET_SECONDS / 2
    assert not passes("FAIL", "a")
    assert passes("FAIL", "b")
    assert passes("MAXPOLL", "a")
    now = QUIET_SECONDS
    assert passes("FAIL", "a")


def test_aiokafka_is_heard_seldom_whichever_of_its_modules_speaks(caplog: pytest.LogCaptureFixture) -> None:
    # What our services import; its admin client is none of it.
    loggers = {
        module.log
        for name, module in sys.modules.items()
        if name.startswith("aiokafka.") and not name.startswith("aiokafka.admin") and hasattr(module, "log")
    }
    assert {"aiokafka", "aiokafka.producer.sender", "aiokafka.consumer.group_coordinator"} <= {
        log.name for log in loggers
    }
    for log in loggers:
        caplog.clear()
        for node in range(3):
            log.warning("a test can't reach %s", node)
        assert len(caplog.records) == 1, log.name
