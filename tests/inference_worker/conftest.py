"""The real model, converted once for the run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from backbone.redis import connect
from backbone.settings import Settings
from inference_worker.models import files
from tests.support import apart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from barnabas.local.stack import LocalStack
    from inference_worker.models.files import ModelFiles

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="session")
async def settings(stack: LocalStack) -> Settings:
    """The run's servers, and topics that no other test's services read."""
    return await apart(stack.settings, "inference-tests")


@pytest.fixture(scope="session")
def converted(tmp_path_factory) -> tuple[Settings, ModelFiles, list[float]]:
    """Settings, the converted model, and what was told of the progress; by hand, so without Redis."""
    settings = Settings(home=tmp_path_factory.mktemp("models"))
    command = [sys.executable, "-m", "inference_worker.models.convert", MODEL, "--models", str(settings.models_path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=170).stdout.splitlines()
    folder = settings.models_path / MODEL
    manifest = files.read_manifest(folder)
    assert manifest
    return settings, files.verify(folder, manifest), [json.loads(line)["fraction"] for line in lines]


@pytest.fixture
async def nowhere() -> AsyncIterator[Redis]:
    """A Redis that is never there: nothing that takes this asks one."""
    redis = connect(Settings(redis_url=SecretStr("redis://127.0.0.1:1/0")))
    yield redis
    await redis.aclose()
