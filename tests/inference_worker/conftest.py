"""The real model, converted once for the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backbone.settings import Settings
from inference_worker.models import catalog

if TYPE_CHECKING:
    from inference_worker.models.files import ModelFiles

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def converted(tmp_path_factory) -> tuple[Settings, ModelFiles, list[float]]:
    """Settings, the converted model, and what was told of the progress."""
    settings = Settings(home=tmp_path_factory.mktemp("models"))
    told: list[float] = []
    return settings, catalog.ensure(settings, MODEL, told.append), told
