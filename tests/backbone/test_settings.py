from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backbone.errors import SettingsError
from backbone.settings import TierTable, settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """The environment is read anew."""
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize(
    "value", ["nonsense", "http://127.0.0.1", "redis://host:port/0", "redis://h:99999/0", "redis://h:0"]
)
def test_an_address_that_is_none_of_redis_is_named_and_never_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_REDIS_URL", value)
    with pytest.raises(SettingsError, match="redis://host:6379/0") as caught:
        settings()
    assert caught.value.field == "BARNABAS_REDIS_URL"
    assert value not in caught.value.message  # it may hold a password


@pytest.mark.parametrize("value", ["redis://h", "redis://u:p@h:1/2", "rediss://h:1", "unix:///run/valkey.sock"])
def test_addresses_of_redis_are_taken(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_REDIS_URL", value)
    assert settings().redis_url.get_secret_value() == value


@pytest.mark.parametrize(
    "value", ["nonsense", "host:", ":9092", "host:0", "host:70000", "kafka://host:9092", "a:1,,b:2"]
)
def test_a_broker_that_is_no_host_and_port_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_KAFKA_BOOTSTRAP", value)
    with pytest.raises(SettingsError, match="host:9092") as caught:
        settings()
    assert caught.value.field == "BARNABAS_KAFKA_BOOTSTRAP"


@pytest.mark.parametrize("value", ["ops@bücher.example", "a\r\nHost: b", "someone (me)", "a\\b"])
def test_a_contact_that_no_header_could_carry_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_USER_AGENT_CONTACT", value)
    with pytest.raises(SettingsError) as caught:
        settings()
    assert caught.value.field == "BARNABAS_USER_AGENT_CONTACT"


def test_an_empty_variable_names_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BARNABAS_KAFKA_BOOTSTRAP", "BARNABAS_REDIS_URL"):
        monkeypatch.setenv(name, "")
    assert (settings().kafka_bootstrap, settings().redis_url.get_secret_value()) == ("", "")


def test_brokers_are_a_list_and_spaces_are_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_KAFKA_BOOTSTRAP", "one:9092, [::1]:9093")
    assert settings().kafka_bootstrap == "one:9092,[::1]:9093"


def test_a_rate_by_which_a_task_might_wait_too_long_for_its_turn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_TIERS__BATCH__RATE", "0.5")
    with pytest.raises(SettingsError, match=r"at least 0\.8") as caught:
        settings()
    assert caught.value.field == "BARNABAS_TIERS__BATCH__RATE"
    assert "start_by" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HANDLER_TIMEOUT", "PT31S"),  # a group goes on without a member that is busy for longer than 60 s
        ("HANDLER_TIMEOUT", "0"),
        ("TIERS__URGENT__START_BY", "0"),
        ("TIERS__LOW__DEADLINE", "P9000Y"),
        ("OUTCOME_TTL", "0"),
    ],
)
def test_a_time_that_nothing_could_keep_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"BARNABAS_{name}", value)
    with pytest.raises(SettingsError) as caught:
        settings()
    assert caught.value.field == f"BARNABAS_{name}"


def test_fewer_partitions_let_a_rate_be_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_PARTITIONS", "10")
    monkeypatch.setenv("BARNABAS_TIERS__BATCH__RATE", "0.5")
    policies = settings().tiers
    # One cell is set, and the others are the table's.
    assert policies.batch == TierTable().batch.model_copy(update={"rate": 0.5})
    assert policies.urgent.rate is None


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many"])
def test_a_rate_that_is_none_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_TIERS__LOW__RATE", value)
    with pytest.raises(SettingsError) as caught:
        settings()
    assert caught.value.field == "BARNABAS_TIERS__LOW__RATE"
