"""Which runner runs a model: by its architecture, the machine, and the settings.

The format `auto` is the fastest that keeps the model's quality here (`python -m inference_worker perplexity` shows
it): int8 where the processor multiplies bytes and a compiler made the kernels, else bfloat16 where that is fast, else
float32. What the kernels or our own forward don't compute runs in the next that does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from inference_worker.errors import InferenceError, NotComputedError
from inference_worker.kv_cache import places_for
from inference_worker.models import files
from inference_worker.runners import int8_llama, native
from inference_worker.runners.families import LlamaConfig

if TYPE_CHECKING:
    from backbone.settings import Settings
    from inference_worker.models.files import ModelFiles
    from inference_worker.runners.base import Runner

COMPILE_WAIT: Final = 20.0
"""Seconds for which a load waits for kernels; on an idle machine they take two."""

_log = structlog.get_logger()


def open_runner(settings: Settings, model: ModelFiles, *, fixed_chunk: int = 0) -> Runner:
    """Load a model with the runner that suits it.

    Args:
        settings: format, device, threads and size of the cache.
        model: the verified files.
        fixed_chunk: 0, or in deterministic mode the rows to which every chunk of a prompt is padded.

    Raises:
        InferenceError: the model or the settings ask for what can't be run here.
    """
    if files.by_tensorflow(model.manifest.files):
        return _by_tensorflow(settings, model)
    if settings.deterministic or not (runner := _in_int8(settings, model)):
        runner = _by_torch(settings, model, fixed_chunk)
    if not settings.deterministic and settings.model_dtype not in {"auto", runner.format}:
        _log.warning("model.other_format", wanted=settings.model_dtype, format=runner.format)
    return runner


def _in_int8(settings: Settings, model: ModelFiles) -> Runner | None:
    if settings.model_dtype not in {"auto", int8_llama.FORMAT} or _device(settings) != "cpu":
        return None
    kernels = native.kernels(settings.cache / "kernels", wait=COMPILE_WAIT)
    if kernels is None:
        return None
    try:
        config = LlamaConfig.read(model.json(files.CONFIG))
        if not int8_llama.computes(config, kernels):
            return None
        slots, threads = places_for(settings.inference_slots), settings.inference_threads or _cores()
        return int8_llama.Int8Llama(
            model.folder, config, kernels, slots=slots, max_context=settings.max_context, threads=threads
        )
    except NotComputedError:
        return None


def _by_tensorflow(settings: Settings, model: ModelFiles) -> Runner:
    try:
        from inference_worker.runners.tensorflow_runner import TensorflowRunner  # noqa: PLC0415 - as PyTorch's
    except ImportError as error:
        raise InferenceError("it was saved by TensorFlow: install the extra `tensorflow`", field="model") from error

    return TensorflowRunner(
        model.folder,
        model.json(files.CONFIG),
        slots=places_for(settings.inference_slots),
        max_context=settings.max_context,
        threads=settings.inference_threads or _cores(),
        alone=settings.deterministic,
    )


def _by_torch(settings: Settings, model: ModelFiles, fixed_chunk: int) -> Runner:
    # Imports take seconds and hundreds of megabytes: PyTorch's where int8 does not run, transformers' where nothing does.
    import torch  # noqa: PLC0415

    from inference_worker.runners.cuda_llama import CudaLlama  # noqa: PLC0415
    from inference_worker.runners.linear import packs  # noqa: PLC0415
    from inference_worker.runners.torch_llama import TorchLlama  # noqa: PLC0415

    torch.set_num_threads(settings.inference_threads or _cores())
    device = torch.device(_device(settings))
    if settings.deterministic or settings.model_dtype == "float32":
        dtype = torch.float32
    else:
        fast = settings.model_dtype == "bfloat16" or device.type == "cuda" or packs(torch.bfloat16)
        dtype = torch.bfloat16 if fast else torch.float32
    slots, max_context = places_for(settings.inference_slots), settings.max_context
    try:
        config = LlamaConfig.read(model.json(files.CONFIG))
        own = TorchLlama if device.type == "cpu" else CudaLlama
        return own(
            model.folder,
            config,
            slots=slots,
            max_context=max_context,
            dtype=dtype,
            device=device,
            fixed_chunk=fixed_chunk,
        )
    except NotComputedError as error:
        _log.info("model.by_transformers", reason=str(error))
        from inference_worker.runners.transformers_runner import TransformersRunner  # noqa: PLC0415

        return TransformersRunner(model.folder, slots=slots, max_context=max_context, dtype=dtype, device=device)


def _device(settings: Settings) -> str:
    if settings.model_device == "cpu" or not (_has_gpu() or settings.model_device == "cuda"):
        return "cpu"
    import torch  # noqa: PLC0415 - only where there is a GPU

    if torch.cuda.is_available():
        return "cuda"
    if settings.model_device == "cuda":
        raise InferenceError("there is no GPU that PyTorch can use; choose cpu or auto", field="model_device")
    return "cpu"


def _has_gpu() -> bool:
    """Whether this machine may have one; PyTorch knows, but it takes seconds to ask."""
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")) or os.name == "nt"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
