"""Every knob of every process, and the one table of tier policies.

A setting is read from the environment as `BARNABAS_<NAME>`, nested ones with two underscores
(`BARNABAS_TIERS__URGENT__ATTEMPTS=3`). Nothing else in the project reads the environment, but for the Python client,
which stands alone (`barnabas/endpoint.py`).
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import platformdirs
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backbone.errors import SettingsError
from backbone.net_guard import AllowedNetwork

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.tiers import Tier


LONGEST_TURN = timedelta(seconds=20)
"""The longest that a task waits for its tier's rate. With the handler's time it is less than the 60 s after which a
group goes on without a member that is still busy."""


Wait = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=3650))]
"""How long a task may wait or take: not so short that each one expires, nor so long that its end is no time any more."""


class CpuClass(StrEnum):
    """How the operating system schedules a tier's process where no container weights it."""

    NORMAL = "normal"
    IDLE = "idle"
    """SCHED_IDLE: runs only when nothing else wants the core. `nice` does not reach across sessions; this does."""


class TierPolicy(BaseModel):
    """What a tier promises and may use.

    How many tasks of a tier run at once is no cell of its own: each partition of its topic runs one after another, so
    it is the setting `partitions`, shared out among the tier's processes.

    Attributes:
        start_by: from submit until the first attempt must have begun.
        deadline: from submit until the task must have ended.
        attempts: how often a task is tried in all.
        cpu_weight: relative CPU share of its container.
        cpu_class: scheduling class where there is no container.
        cpu_workers: processes of a tier's process that do CPU-bound work.
        memory_mb: ceiling of each one's private memory in MiB.
        rate: tasks a second that are begun in the whole tier, however many processes it has; None means no bound.
    """

    model_config = ConfigDict(frozen=True)

    start_by: Wait
    deadline: Wait
    attempts: Annotated[int, Field(ge=1, le=100)]
    cpu_weight: Annotated[int, Field(ge=1, le=64)]
    cpu_class: CpuClass = CpuClass.NORMAL
    cpu_workers: Annotated[int, Field(ge=1, le=64)] = 1
    memory_mb: Annotated[int, Field(ge=128)] = 512
    rate: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None


class TierTable(BaseModel):
    """The one table of tier policies; every cell is a setting."""

    model_config = ConfigDict(frozen=True)

    urgent: TierPolicy = TierPolicy(
        start_by=timedelta(seconds=2), deadline=timedelta(seconds=60), attempts=2, cpu_weight=8
    )
    realtime: TierPolicy = TierPolicy(
        start_by=timedelta(seconds=15), deadline=timedelta(minutes=2), attempts=3, cpu_weight=4
    )
    batch: TierPolicy = TierPolicy(
        start_by=timedelta(minutes=10), deadline=timedelta(hours=1), attempts=5, cpu_weight=2, cpu_class=CpuClass.IDLE
    )
    low: TierPolicy = TierPolicy(
        start_by=timedelta(hours=24), deadline=timedelta(hours=24), attempts=5, cpu_weight=1, cpu_class=CpuClass.IDLE
    )

    @model_validator(mode="before")
    @classmethod
    def _cells(cls, given: Any) -> Any:
        """Take what is not given of a tier from its row here: one cell may be set alone."""
        if not isinstance(given, dict):
            return given
        rows = {name: field.default.model_dump() for name, field in cls.model_fields.items()}
        return {
            name: {**rows[name], **row} if isinstance(row, dict) and name in rows else row
            for name, row in given.items()
        }

    def __getitem__(self, tier: Tier) -> TierPolicy:
        policy: TierPolicy = getattr(self, tier.value)
        return policy


class Settings(BaseSettings):
    """The settings of every process; each uses what concerns it."""

    model_config = SettingsConfigDict(
        env_prefix="BARNABAS_", env_nested_delimiter="__", frozen=True, extra="ignore", populate_by_name=True
    )

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("barnabas")),
        description="The one folder that holds all data of a local stack.",
    )
    cache: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("barnabas")),
        description="Downloads that each home shares; it may be deleted at any time.",
    )

    # Kafka and Redis
    kafka_bootstrap: str = Field("127.0.0.1:29092", description="Bootstrap servers of Kafka, separated by commas.")
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:26379/0"), description="URL of Redis or Valkey.")
    topic_prefix: str = Field(
        "barnabas.", pattern=r"^[a-zA-Z0-9._-]*$", description="Goes before each topic's name and each key in Redis."
    )
    partitions: int = Field(16, ge=1, le=1024, description="Partitions of each topic; never changed once made.")
    replication_factor: int = Field(1, ge=1, le=9, description="Copies of each partition.")
    group_instance: str = Field(
        "",
        description="Static membership (KIP-345): a name that this process keeps over restarts and no other has, so that"
        " it gets its partitions back at once after a crash; empty where processes come and go.",
    )
    create_topics: bool = Field(True, description="Whether a process that starts makes the topics that are missing.")

    produce_timeout: timedelta = Field(
        timedelta(seconds=10), description="How long a produce may take before Kafka counts as away."
    )

    # The edge
    edge_host: str = Field("127.0.0.1", description="Address on which the edge listens.")
    edge_port: int = Field(8420, ge=0, le=65535, description="Port of REST, WebSocket and the API's documentation.")
    edge_plaintext: bool = Field(
        False, description="Whether the edge may listen beyond loopback without TLS, as behind a proxy that has it."
    )
    api_key_file: Path | None = Field(None, description="File of the API key; `api-key` in the home by default.")
    max_payload_bytes: int = Field(512 * 1024, ge=1024, description="The largest payload that travels in a record.")
    edge_buffer_bytes: int = Field(
        4 * 1024 * 1024, ge=64 * 1024, description="What may wait for a slow reader before its connection is dropped."
    )

    # What is too large for a record
    blob_url: str = Field(
        "",
        description="Where payloads and results lie that are too large for a record: a folder (`file:///path`) or"
        " `s3://bucket/prefix`; empty means the folder `blobs` in the home.",
    )
    blob_endpoint: str = Field("", description="URL of an S3 server that is not Amazon's.")
    blob_region: str = Field("", description="Region of the bucket.")
    blob_key_id: SecretStr = Field(
        SecretStr(""), description="Access key of the bucket; empty means what the cloud gives this machine."
    )
    blob_key_secret: SecretStr = Field(SecretStr(""), description="Secret of that access key.")
    blob_ttl: timedelta = Field(
        timedelta(days=31),
        ge=timedelta(days=1),
        description="How long a blob is kept after it was last put: as long as a dead letter, which is replayed with it,"
        " and a day.",
    )
    max_upload_bytes: int = Field(
        36 * 1024 * 1024, ge=1024 * 1024, description="The largest upload, and the largest payload or result at all."
    )

    # Tiers
    tiers: TierTable = Field(default_factory=TierTable, description="The table of tier policies.")
    handler_timeout: timedelta = Field(
        timedelta(seconds=30),
        gt=timedelta(0),
        le=timedelta(seconds=30),
        description="The longest that a handler may hold its partition.",
    )
    local_cpu_classes: bool = Field(False, description="Whether tiers set their own scheduling class (no containers).")
    outcome_ttl: timedelta = Field(
        timedelta(days=7), gt=timedelta(0), description="How long an outcome is remembered in Redis."
    )

    # Outgoing addresses
    net_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description=(
            "Networks (`CIDR`, or `CIDR:port` for a port beside 80 and 443; separated by commas) "
            "that may be reached although they are not public."
        ),
    )
    host_pause: timedelta = Field(
        timedelta(seconds=1),
        ge=timedelta(0),
        le=timedelta(seconds=10),
        description="Pause between two requests of the whole stack to one host.",
    )
    web_cache_memory: int = Field(
        32 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of Redis for what hosts said that may be used again: small pages, and each robots.txt.",
    )
    web_cache_disk: int = Field(256 * 1024 * 1024, ge=0, description="Bytes of disk for the larger ones; 0 means none.")
    user_agent_contact: str = Field(
        "",
        # A comment of a header (RFC 9110, section 5.6.5), without what would have to be escaped in it.
        pattern=r"^[ -'*-\[\]-~]*$",
        description="Address or URL that the scraper's User-Agent names as its contact.",
    )
    chromium: Path | None = Field(
        None, description="The Chromium that renders pages; where it isn't named, the one on the PATH."
    )
    rendered_pages: int = Field(2, ge=1, le=32, description="Pages that a tier's process renders at once.")
    rendered_idle: timedelta = Field(
        timedelta(minutes=5), gt=timedelta(0), description="How long a browser that renders nothing is kept."
    )

    # Mail
    mail_policy: Path | None = Field(
        None, description="File of the rules by which mails are routed (TOML); see docs/mail.md."
    )

    # Inference
    model: str = Field("smollm2-135m-instruct", description="Id of the model that a worker loads as it starts.")
    model_dtype: str = Field(
        "auto",
        pattern="^(auto|int8|bfloat16|float32)$",
        description="Number format of the weights; auto: the fastest here that keeps the model's quality.",
    )
    model_device: str = Field(
        "auto", pattern="^(auto|cpu|cuda)$", description="Where a model runs; auto: on a GPU where there is one."
    )
    deterministic: bool = Field(False, description="fp32 and fixed shapes: the same seed gives the same text.")
    inference_slots: int = Field(8, ge=1, le=256, description="Sequences that run at once in a worker.")
    inference_cache_bytes: int = Field(
        0,
        ge=0,
        description="Bytes of keys and values that a worker holds at most, for those that run and those that are paused; 0"
        " means what as many sequences of full length take.",
    )
    max_context: int = Field(2048, ge=64, description="Tokens of prompt and answer that a sequence may have in all.")
    inference_threads: int = Field(0, ge=0, description="Threads of the model's arithmetic; 0 means each core.")
    remote_url: str = Field(
        "",
        description="Base URL of an OpenAI-compatible API (`https://host/v1`) whose model `BARNABAS_MODEL` a worker serves"
        " in place of one of its own; empty means none.",
    )
    remote_api_key: SecretStr = Field(SecretStr(""), description="Key of that API.")
    remote_api_key_file: Path | None = Field(None, description="File of that key, where it isn't given itself.")
    remote_server: str = Field(
        "auto",
        pattern="^(auto|openai|vllm|llamacpp|other)$",
        description="What runs there, for the options that it takes; auto: what its list of models says.",
    )
    remote_resume: str = Field(
        "auto",
        pattern="^(auto|no|last_message|continue_final_message)$",
        description="How that server goes on with an answer that was begun; auto: as its kind of server does.",
    )
    remote_silence: timedelta = Field(
        timedelta(seconds=60), gt=timedelta(0), description="How long that server may say nothing before it has failed."
    )
    remote_patience: timedelta = Field(
        timedelta(seconds=30),
        ge=timedelta(0),
        description="How long a request tries again where that server fails, before that counts as an attempt.",
    )
    token_interval: timedelta = Field(
        timedelta(milliseconds=100),
        ge=timedelta(0),
        le=timedelta(seconds=2),
        description="How long the tokens of an answer are gathered into one record where 16 or more are written at once;"
        " less where fewer are, and not at all where one is alone.",
    )
    drain_timeout: timedelta = Field(
        timedelta(seconds=8), description="How long a worker that stops goes on with what it has, before handing over."
    )

    # The local stack (in each, 0 means any free port)
    local_kafka_port: int = Field(29092, ge=0, le=65535, description="Port of the embedded Kafka.")
    local_kafka_controller_port: int = Field(29093, ge=0, le=65535, description="Port of its KRaft controller.")
    local_valkey_port: int = Field(26379, ge=0, le=65535, description="Port of the embedded Valkey.")
    local_metrics_base_port: int = Field(
        29100, ge=0, le=65500, description="Health and metrics port of the first service; the others follow it."
    )

    demo_port: int = Field(
        8421, ge=0, le=65535, description="Port of the page that the demo scrapes; the local tiers may reach it."
    )

    # Telemetry
    metrics_host: str = Field("127.0.0.1", description="Address of the health and metrics port.")
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("BARNABAS_METRICS_PORT", "metrics_port"),
        description="Port of /healthz, /readyz and /metrics of a process without an edge; 0 means none.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="What is logged.")
    log_format: str = Field("auto", pattern="^(auto|json|console)$", description="auto: colours on a terminal.")

    @field_validator("kafka_bootstrap")
    @classmethod
    def _brokers(cls, value: str) -> str:
        if not value:
            return value  # an empty variable names none: a local stack has its own
        addresses = [address.strip() for address in value.split(",")]
        for address in addresses:
            if not _is_host_and_port(address):
                raise ValueError(f"{address!r} is no host:port; write brokers as `host:9092,other:9092`")
        return ",".join(addresses)

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and (not url.startswith(("redis://", "rediss://", "unix://")) or not _has_a_port_or_none(url)):
            raise ValueError("is no URL of Redis; write it as `redis://host:6379/0`")
        return value

    @field_validator("blob_url")
    @classmethod
    def _blobs(cls, value: str) -> str:
        url = urlsplit(value)
        if value and not (
            (url.scheme == "file" and not url.netloc and url.path.startswith("/"))
            or (url.scheme == "s3" and url.netloc)
        ):
            raise ValueError("is no place for blobs; write it as `file:///path` or `s3://bucket/prefix`")
        return value

    @field_validator("blob_endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("is no URL of an S3 server; write it as `https://host:port`")
        return value

    @field_validator("remote_url")
    @classmethod
    def _remote(cls, value: str) -> str:
        web = value.startswith(("http://", "https://"))
        if value and not (web and _has_a_port_or_none(value) and urlsplit(value).hostname):
            raise ValueError("is no URL of an API; write it as `https://host/v1`")
        return value.rstrip("/")

    @field_validator("tiers")
    @classmethod
    def _rates(cls, value: TierTable, info: ValidationInfo) -> TierTable:
        """Hold each rate against the partitions: each may have a task that waits for its turn, and holds it by that."""
        least = info.data.get("partitions", 0) / LONGEST_TURN.total_seconds()
        for name in TierTable.model_fields:
            rate = getattr(value, name).rate
            if rate is not None and rate < least:
                raise PydanticCustomError(
                    "tier_rate",
                    "{rate} tasks a second are too few: with its partitions a task might wait longer than the"
                    " {longest} s that it may; give at least {least}, or the topics fewer partitions",
                    {"rate": rate, "least": least, "longest": LONGEST_TURN.seconds, "within": (name, "rate")},
                )
        return value

    @field_validator("net_allow", mode="before")
    @classmethod
    def _networks(cls, value: str | Iterable[str]) -> tuple[str, ...]:
        rules = value.split(",") if isinstance(value, str) else value
        return tuple(str(AllowedNetwork.parse(rule)) for rule in rules if rule.strip())

    @property
    def api_key_path(self) -> Path:
        """Where the API key of a local stack is kept."""
        return self.api_key_file or self.home / "api-key"

    @property
    def models_path(self) -> Path:
        """Where converted models are kept."""
        return self.home / "models"


@cache
def settings() -> Settings:
    """Return this process's settings, read once from the environment.

    Raises:
        SettingsError: naming the first variable that does not make sense.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        within = first.get("ctx", {}).get("within", ())
        name = "BARNABAS_" + "__".join(map(str, (*first["loc"], *within))).upper().removeprefix("BARNABAS_")
        message = first["msg"].removeprefix("Value error, ")
        secret = any(
            field.annotation is SecretStr for of, field in Settings.model_fields.items() if of == first["loc"][0]
        )
        raise SettingsError(
            message if secret or within else f"{message} (it is {first['input']!r})", field=name
        ) from None


def _is_host_and_port(address: str) -> bool:
    host, colon, port = address.rpartition(":")
    return bool(host and colon) and "/" not in host and port.isdecimal() and 1 <= int(port) <= 65535


def _has_a_port_or_none(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
