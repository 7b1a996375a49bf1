"""A folder that Hugging Face's tools wrote becomes a model that a worker loads."""

from __future__ import annotations

import shutil

import pytest

from backbone.settings import Settings
from inference_worker.errors import ConversionError
from inference_worker.models import catalog, files
from inference_worker.models.adopt import adopt, main
from inference_worker.models.tokenizer import ModelTokenizer
from inference_worker.runners import choice
from inference_worker.runners.base import Work
from tests.inference_worker.small_llama import saved

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(converted, tmp_path):
    """A small Qwen with the tokenizer of the real model."""
    place = saved(tmp_path, "qwen2")
    for name in (files.TOKENIZER, files.TOKENIZER_CONFIG):
        shutil.copyfile(converted[1].folder / name, place / name)
    return place


async def test_an_adopted_model_is_verified_loaded_and_run(folder, nowhere, tmp_path):
    settings = Settings(home=tmp_path / "home", cache=tmp_path, model_dtype="float32", model_device="cpu")
    assert main([str(folder), "--as", "my-qwen", "--models", str(settings.models_path)]) == 0
    model = await catalog.ensure(settings, nowhere, "my-qwen", lambda _: None)
    assert ModelTokenizer.load(model).encode("hello")
    assert choice.open_runner(settings, model).step([Work(0, [1, 2, 3], 0)])[0].shape == (97,)


@pytest.mark.parametrize("name", [files.CONFIG, files.TOKENIZER, files.WEIGHTS])
def test_what_a_folder_lacks_is_named(folder, tmp_path, name):
    (folder / name).unlink()
    with pytest.raises(ConversionError) as caught:
        adopt(folder, "my-qwen", tmp_path / "models")
    assert caught.value.field == name
    assert not (tmp_path / "models" / "my-qwen").exists()


@pytest.mark.parametrize("model", ["../x", "", "smollm2-135m-instruct", "there"])
def test_an_id_that_is_none_or_is_taken_is_refused(folder, tmp_path, model):
    adopt(folder, "there", tmp_path / "models")
    with pytest.raises(ConversionError) as caught:
        adopt(folder, model, tmp_path / "models")
    assert caught.value.field == "as"
