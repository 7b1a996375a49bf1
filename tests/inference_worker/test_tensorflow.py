"""A model that TensorFlow trained, exported and adopted, in the same engine: its tokens are those of its own loop.

It learns a sentence by heart, letter by letter, in seconds. Its tokenizer has a token a letter.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from backbone.settings import Settings
from barnabas.local.processes import WORKER
from inference_worker.engine import Engine
from inference_worker.errors import ConversionError, NotComputedError
from inference_worker.kv_cache import Bounds
from inference_worker.models import files
from inference_worker.models.adopt import adopt
from inference_worker.models.tokenizer import ModelTokenizer
from inference_worker.requests import CompleteRequest
from inference_worker.runners import choice
from inference_worker.runners.base import Work
from inference_worker.sequence import Sequence
from inference_worker.text import TextStream
from schemas.records import DeltaType, Status
from schemas.topics import RESULTS, TOKENS
from tests.inference_worker.asking import ask, end_of, ended, submit
from tests.inference_worker.hearing import hear
from tests.support import Log, beside

if TYPE_CHECKING:
    from pathlib import Path

    from inference_worker.models.files import ModelFiles

pytestmark = [pytest.mark.long, pytest.mark.stack, pytest.mark.timeout(600)]

LEARNT = "the quick brown fox jumps over the lazy dog while five boxing wizards pack my liquor jugs. "
LETTERS = ["<end>", *sorted(set(LEARNT))]
PROMPTS = ["the q", "fox jumps over t", "w", "pack my liquor jugs. the quick brown fox jumps", "zzz"]


def _network(*, last: bool = False) -> Any:
    import tensorflow as tf

    ids = tf.keras.Input((None,), dtype="int32")
    states = tf.keras.layers.GRU(96, return_sequences=not last)(tf.keras.layers.Embedding(len(LETTERS), 24)(ids))
    return tf.keras.Model(ids, tf.keras.layers.Dense(len(LETTERS))(states))


@pytest.fixture(scope="module")
def network() -> Any:
    import tensorflow as tf

    tf.keras.utils.set_random_seed(1)
    made = _network()
    ids = np.array([LETTERS.index(letter) for letter in LEARNT * 12])
    windows = np.stack([ids[at : at + 49] for at in range(0, len(ids) - 49, 3)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(tf.keras.optimizers.Adam(0.01), loss)
    made.fit(windows[:, :-1], windows[:, 1:], epochs=6, batch_size=32, verbose=0)
    return made


@pytest.fixture(scope="module")
def said(network) -> list[list[int]]:
    """What it says by its own loop after each prompt."""
    return [_own_loop(network, [LETTERS.index(letter) for letter in prompt], 60) for prompt in PROMPTS]


def _saved(place: Path, network: Any, *, keras: bool = False) -> Path:
    """Save a model with its tokenizer, as somebody who trained it would."""
    place.mkdir()
    if keras:
        network.save(place / files.KERAS)
    else:
        network.export(str(place / files.SAVED_MODEL), verbose=False)
    tokenizer = Tokenizer(models.WordLevel({letter: place for place, letter in enumerate(LETTERS)}, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(place / files.TOKENIZER))
    (place / files.TOKENIZER_CONFIG).write_text("{}")
    about = {"vocab_size": len(LETTERS), "eos_token_id": 0, "max_position_embeddings": 400}
    (place / files.CONFIG).write_text(json.dumps(about))
    return place


def _adopted(saved: Path, settings: Settings, name: str) -> ModelFiles:
    folder = adopt(saved, name, settings.models_path)
    return files.verify(folder, files.read_manifest(folder))


def _own_loop(network: Any, prompt: list[int], count: int) -> list[int]:
    held = list(prompt)
    for _ in range(count):
        held.append(int(network(np.array([held])).numpy()[0].reshape(-1, len(LETTERS))[-1].argmax()))
    return held[len(prompt) :]


def _by_the_engine(model: ModelFiles, settings: Settings, count: int) -> list[list[int]]:
    runner, tokenizer = choice.open_runner(settings, model), ModelTokenizer.load(model)
    engine = Engine(runner, [], Bounds.of(runner, 3), fixed=settings.deterministic)
    how = CompleteRequest(prompt="x", temperature=0)
    common = {"how": how, "seed": 0, "limit": count, "rank": 1, "deadline": 10**6}
    sequences = [
        Sequence(id=prompt, prompt=tokenizer.encode(prompt), text=TextStream(tokenizer.detokenizer), **common)
        for prompt in PROMPTS
    ]
    for sequence in sequences:
        engine.add(sequence)
        engine.step(0)
    while not engine.idle:
        engine.step(0)
    return [sequence.answer for sequence in sequences]


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("keras", [False, True])
def test_tokens_equal_its_own_loops(network, said, tmp_path, keras, deterministic):
    settings = Settings(home=tmp_path / "home", inference_slots=3, deterministic=deterministic)
    model = _adopted(_saved(tmp_path / "saved", network, keras=keras), settings, "letters")
    got = _by_the_engine(model, settings, 60)
    assert got == said
    assert ModelTokenizer.load(model).tokenizer.decode(got[0]).startswith("uick brown fox jumps over the lazy dog")


def test_a_model_that_scores_the_last_token_alone_says_what_its_own_loop_says(tmp_path):
    import tensorflow as tf

    tf.keras.utils.set_random_seed(2)
    network = _network(last=True)
    settings = Settings(home=tmp_path / "home", inference_slots=3)
    model = _adopted(_saved(tmp_path / "saved", network), settings, "letters")
    tokenizer = ModelTokenizer.load(model)
    wanted = [_own_loop(network, tokenizer.encode(prompt), 20) for prompt in PROMPTS]
    assert _by_the_engine(model, settings, 20) == wanted


def test_a_slot_goes_back_and_what_has_other_scores_is_refused(network, tmp_path):
    settings = Settings(home=tmp_path / "home", inference_slots=2)
    saved = _saved(tmp_path / "saved", network)
    runner = choice.open_runner(settings, _adopted(saved, settings, "letters"))
    (wanted,) = runner.step([Work(0, [1, 2, 3, 4], 0)])
    runner.step([Work(1, [1, 2, 9, 9, 9], 0)])
    np.testing.assert_allclose(runner.step([Work(1, [3, 4], 2)])[0], wanted, atol=1e-5)
    (saved / files.CONFIG).write_text(json.dumps({"vocab_size": 7, "eos_token_id": 0}))
    with pytest.raises(NotComputedError) as caught:
        choice.open_runner(settings, _adopted(saved, settings, "others"))
    assert caught.value.field == "vocab_size"
    (saved / files.SAVED_MODEL / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(NotComputedError):
        choice.open_runner(settings, _adopted(saved, settings, "broken"))


def test_a_folder_without_a_model_is_refused(tmp_path):
    saved = _saved(tmp_path / "saved", SimpleNamespace(export=lambda path, verbose: None))
    with pytest.raises(ConversionError):
        adopt(saved, "nothing", tmp_path / "models")


async def test_a_worker_serves_it(settings, network, said, tmp_path):
    home = tmp_path / "home"
    saved = _saved(tmp_path / "saved", network)
    adopt(saved, "letters", home / "models")
    async with beside(settings, home, WORKER, model="letters", inference_slots=3) as running:
        await running.complete()
        payload = {"prompt": PROMPTS[0], "max_tokens": 40, "temperature": 0}
        tasks = [ask(kind="llm.complete", payload=payload), ask(kind="llm.embed", payload={"input": "x"})]
        async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
            await submit(settings, *tasks)
            events = await results.until(ended(tasks))
            await tokens.until(lambda all_: any(d.task_id == tasks[0].id and d.type is DeltaType.END for d in all_))
    assert end_of(events, tasks[0]).status is Status.SUCCEEDED
    assert hear(tokens, tasks[0]).ids == said[0][:40]
    assert end_of(events, tasks[1]).error.code == "llm.unsupported"
