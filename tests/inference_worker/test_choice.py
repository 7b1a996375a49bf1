"""The kernels' compilation, which runner a model gets, and what each format costs in quality."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from backbone.settings import Settings
from inference_worker.errors import InferenceError
from inference_worker.models import files
from inference_worker.runners import choice, int8_weights, native
from inference_worker.runners.base import Runner, Work
from inference_worker.runners.int8_llama import Int8Llama
from inference_worker.runners.llama_weights import Affine, Stored
from inference_worker.runners.memory import Arena
from tests.inference_worker.small_llama import CONTEXT, SLOTS, config, ours, saved
from tests.support import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

COMPILER = native._compiler()
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Where compiled kernels are; other tests of this module may have made them."""
    return tmp_path_factory.mktemp("cache")


def _files(folder: Path) -> files.ModelFiles:
    entries = {file.name: files.describe(file) for file in folder.iterdir()}
    return files.ModelFiles(folder, files.Manifest("small", "test", entries, files.overall_digest(entries)))


def _opened(tmp_path: Path, cache: Path, variant: str = "llama", **said: object) -> Runner:
    settings = Settings(cache=cache, inference_slots=2, max_context=64, model_device="cpu", **said)
    return choice.open_runner(settings, _files(saved(tmp_path, variant)))


@needs_compiler
def test_kernels_are_compiled_once(cache):
    first = native.kernels(cache, wait=120)
    assert first
    (library,) = cache.iterdir()
    made = library.stat().st_mtime_ns
    assert native.kernels(cache, wait=0)
    assert library.stat().st_mtime_ns == made


@needs_compiler
async def test_nobody_waits_for_a_slow_compilation_and_the_next_load_finds_it(tmp_path):
    assert native.kernels(tmp_path, wait=0) is None

    async def compiled() -> bool:
        return any(tmp_path.glob("*.so"))

    await until(compiled, 60)
    assert native.kernels(tmp_path, wait=0)
    assert [file.suffix for file in tmp_path.iterdir()] == [".so"]


def test_without_a_compiler_there_are_none_and_the_model_runs_without(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert native.kernels(tmp_path / "kernels", wait=1) is None
    runner = _opened(tmp_path, tmp_path, model_dtype="int8")
    assert runner.format in {"bfloat16", "float32"}
    assert runner.step([Work(0, [1, 2, 3], 0)])[0].shape == (97,)


@needs_compiler
def test_weights_are_rounded_to_the_nearest_of_255_by_group(cache):
    kernels = native.kernels(cache, wait=120)
    assert kernels
    weight = np.random.default_rng(1).normal(size=(40, 64)).astype(np.float32)
    weight[3, 32:] = 0
    packed = int8_weights.pack(kernels, Affine(Stored(weight.view(np.int32), "F32"), None), Arena(), 2)
    assert (packed.outputs, packed.inputs) == (64, 64)
    rows = packed.weights.transpose(0, 3, 1, 2, 4).reshape(64, 2, 32).astype(np.float32) - 128
    scales = (packed.scales.astype(np.uint32) << 16).view(np.float32).transpose(0, 2, 1).reshape(64, 2, 1)
    restored = (rows * scales).reshape(64, 64)
    step = np.repeat(np.abs(weight.reshape(40, 2, 32)).max(-1) / 127, 32, axis=1)
    # Half a step, and a little more where a scale in bfloat16 is smaller than the largest weight asks for.
    assert (np.abs(restored[:40] - weight) <= step * 0.75).all()
    assert not restored[40:].any()
    assert not restored[3, 32:].any()


@needs_compiler
def test_in_the_plain_c_that_any_processor_runs_the_product_is_the_same(cache, tmp_path, monkeypatch):
    flags = [flag for flag in native._FLAGS if flag != "-march=native"]
    plain = tmp_path / "plain.so"
    monkeypatch.setattr(native, "_FLAGS", tuple(flags))
    native.compile_to(plain)
    monkeypatch.undo()

    place = saved(tmp_path)
    fast = native.kernels(cache, wait=120)
    slow = ctypes.CDLL(str(plain))
    assert fast
    assert not slow.has_dot4()
    shape = {"slots": 1, "max_context": 64, "threads": 1}
    scores = [
        Int8Llama(place, config(place), library, **shape).step([Work(0, list(range(20)), 0)])[0]
        for library in (fast, slow)
    ]
    # Sums of int8 are exact; what is float32 between them is fused differently, and rounded another way now and then.
    assert np.abs(scores[0] - scores[1]).mean() < 0.02 * scores[0].std()


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_format_that_is_asked_for_is_what_runs(tmp_path, cache, wanted):
    assert _opened(tmp_path, cache, model_dtype=wanted).format == wanted


@needs_compiler
def test_auto_is_int8_where_the_processor_has_it_and_deterministic_is_float32(tmp_path, cache):
    kernels = native.kernels(cache, wait=120)
    assert kernels
    runner = _opened(tmp_path, cache)
    assert (runner.format == "int8") == bool(kernels.has_dot4())
    assert _opened(tmp_path, cache, deterministic=True).format == "float32"


def test_what_our_forward_does_not_compute_runs_by_transformers(tmp_path, cache):
    import transformers

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=2))
    model.save_pretrained(tmp_path / "gpt2")
    settings = Settings(cache=cache, inference_slots=2, max_context=64, model_device="cpu")
    runner = choice.open_runner(settings, _files(tmp_path / "gpt2"))
    assert type(runner).__name__ == "TransformersRunner"
    assert runner.step([Work(0, [1, 2], 0)])[0].shape == (97,)


def test_a_gpu_that_is_not_there_is_refused_by_name(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = Settings(cache=tmp_path, model_device="cuda")
    with pytest.raises(InferenceError) as caught:
        choice.open_runner(settings, _files(saved(tmp_path)))
    assert caught.value.field == "model_device"


def test_on_a_gpu_recorded_decoding_scores_as_the_cpu(tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    from inference_worker.runners.cuda_llama import CudaLlama

    device, place = torch.device("cuda"), saved(tmp_path)
    gpu = CudaLlama(place, config(place), slots=SLOTS, max_context=CONTEXT, dtype=torch.float32, device=device)
    cpu = ours(tmp_path)
    texts = {0: [(5 * i) % 97 for i in range(40)], 2: [(7 * i) % 97 for i in range(60)]}
    held = {0: 5, 2: 40}
    for runner in (gpu, cpu):
        runner.step([Work(slot, texts[slot][:count], 0) for slot, count in held.items()])
    for turn in range(20):
        batch = [Work(slot, [texts[slot][held[slot]]], held[slot]) for slot in ((0, 2) if turn % 2 else (2,))]
        np.testing.assert_allclose(gpu.step(batch), cpu.step(batch), atol=1e-3)
        for work in batch:
            held[work.slot] += 1


@needs_compiler
@pytest.mark.parametrize("windows", [4, pytest.param(16, marks=pytest.mark.long)])
def test_int8_costs_less_than_a_hundredth_of_perplexity(converted, tmp_path, windows):
    settings, _, _ = converted
    environment = {**os.environ, "BARNABAS_HOME": str(settings.home), "BARNABAS_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "inference_worker", "perplexity", "--json"]
    command += ["--format", "int8", "--format", "bfloat16", "--windows", str(windows)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=170)
    report = json.loads(done.stdout)
    by_format = {row["format"]: row["perplexity"] for row in report["formats"]}
    assert report["tokens"] == windows * 256
    if "int8" in by_format:
        assert by_format["int8"] < 1.01 * by_format["bfloat16"]
    assert 20 < by_format["bfloat16"] < 50
