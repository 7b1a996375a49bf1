"""The real model, converted once for the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backbone.settings import Settings
from inference_worker.models import catalog
from tests.support import apart

if TYPE_CHECKING:
    from barnabas.local.stack import LocalStack
    from inference_worker.models.files import ModelFiles

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="session")
async def settings(stack: LocalStack) -> Settings:
    """The run's servers, and topics that no other test's services read."""
    return await apart(stack.settings, "inference-tests")


@pytest.fixture(scope="session")
def converted(tmp_path_factory) -> tuple[Settings, ModelFiles, list[float]]:
    """Settings, the converted model, and what was told of the progress."""
    settings = Settings(home=tmp_path_factory.mktemp("models"))
    told: list[float] = []
    return settings, catalog.ensure(settings, MODEL, told.append), told
