"""`python -m inference_worker perplexity`: what each weight format costs in quality, on a text that never changes.

The text is the beginning of H. G. Wells, *The Time Machine* (1895; in the public domain; after Project Gutenberg's
edition 35). Its first 4,096 tokens go as 16 windows of 256 side by side through the runner's port, token by token as an
answer does. Perplexity is e to the mean negative log-likelihood of each token but the first of its window.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from backbone.settings import settings
from inference_worker.errors import ConversionError
from inference_worker.models import catalog, files
from inference_worker.models.convert import convert
from inference_worker.models.tokenizer import ModelTokenizer
from inference_worker.runners.base import Work
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backbone.settings import Settings
    from inference_worker.models.files import ModelFiles
    from inference_worker.runners.base import Runner

WINDOWS: Final = 16
LENGTH: Final = 256
"""Tokens of a window."""
FORMATS: Final = ("int8", "bfloat16", "float32")


def perplexity(runner: Runner, windows: Sequence[Sequence[int]]) -> float:
    """Return the perplexity of token sequences of one length, at most as many as the runner has slots."""
    surprise = 0.0
    for at in range(len(windows[0]) - 1):
        scores = runner.step([Work(slot, [tokens[at]], at) for slot, tokens in enumerate(windows)])
        logits = np.stack(scores).astype(np.float64)
        top = logits.max(axis=1, keepdims=True)
        normalizer = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        said = [logits[slot, tokens[at + 1]] for slot, tokens in enumerate(windows)]
        surprise += float((normalizer - said).sum())
    return float(np.exp(surprise / (len(windows) * (len(windows[0]) - 1))))


def read_windows(tokenizer: ModelTokenizer, windows: int = WINDOWS) -> list[list[int]]:
    """Return the first windows of tokens of the text."""
    text = resources("inference_worker").joinpath("texts/time_machine.txt").read_text(encoding="utf-8")
    tokens = tokenizer.encode(text)
    return [tokens[start : start + LENGTH] for start in range(0, windows * LENGTH, LENGTH)]


def measure(here: Settings, model: ModelFiles, weights: str, windows: int = WINDOWS) -> dict[str, Any]:
    """Return a row of the report: the format that ran for the one that was asked for, its perplexity, and the seconds."""
    from inference_worker.runners.choice import open_runner  # noqa: PLC0415 - imports PyTorch

    how = {"model_dtype": weights, "inference_slots": windows, "max_context": LENGTH, "deterministic": False}
    runner = open_runner(here.model_copy(update=how), model)
    started = time.perf_counter()
    value = perplexity(runner, read_windows(ModelTokenizer.load(model), windows))
    return {"asked": weights, "format": runner.format, "perplexity": value, "seconds": time.perf_counter() - started}


def main(arguments: Sequence[str]) -> int:
    """Measure the perplexity of weight formats; exit code 0 when all ran."""
    here = settings()
    parser = argparse.ArgumentParser(prog="python -m inference_worker perplexity", description=main.__doc__)
    parser.add_argument("--model", default=here.model, help="id of the model (default: %(default)s)")
    parser.add_argument("--format", action="append", choices=FORMATS, help="one of them; may be given again")
    parser.add_argument(
        "--windows", type=int, choices=range(1, WINDOWS + 1), default=WINDOWS, metavar="N",
        help=f"so many windows of {LENGTH} tokens, at most {WINDOWS} (the default): fewer take less time and tell less",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(arguments)
    try:
        model = _here(here, options.model)
        rows = [measure(here, model, weights, options.windows) for weights in options.format or FORMATS]
    except BarnabasError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.json:
        report = {"model": options.model, "digest": model.digest, "tokens": options.windows * LENGTH, "formats": rows}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
        return 0
    sys.stdout.write(f"{options.model}: perplexity over {options.windows * LENGTH} tokens of The Time Machine\n")
    for row in rows:
        instead = "" if row["format"] == row["asked"] else f"  (this machine has no {row['asked']})"
        sys.stdout.write(f"{row['format']:>10}  {row['perplexity']:8.3f}  {row['seconds']:6.1f} s{instead}\n")
    return 0


def _here(here: Settings, model: str) -> ModelFiles:
    """Return a model's verified files, converted first where that has not been done."""
    folder = here.models_path / model
    manifest = files.read_manifest(folder)
    if model in catalog.SOURCES or manifest is None:
        manifest = files.read_manifest(convert(model, here.models_path, lambda _: None))
    if manifest is None:
        raise ConversionError(f"the conversion of {model} left no manifest")
    return files.verify(folder, manifest)
