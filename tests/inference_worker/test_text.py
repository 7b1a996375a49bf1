"""Text as it comes: whole characters, stop strings across token borders, the same however the tokens are grouped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from inference_worker.text import TextStream


def byte_tokenizer() -> Tokenizer:
    """One token a byte, the hardest case for whole characters, and a few that span words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


TOKENIZER = byte_tokenizer()
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


def _stream(text: str, stops: list[str]) -> tuple[list[str], TextStream]:
    stream = TextStream(TOKENIZER, stops)
    pieces = [stream.push(token) for token in TOKENIZER.encode(text).ids]
    return pieces, stream


@given(texts)
def test_all_text_comes_in_whole_characters(text):
    pieces, stream = _stream(text, [])
    assert "".join(pieces) + stream.finish() == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


@given(st.text("ab\u00e9", max_size=30), st.lists(st.text("ab\u00e9", min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_text_ends_before_the_first_stop_string(text, stops):
    pieces, stream = _stream(text, stops)
    emitted = "".join(pieces) + stream.finish()
    assert all(stop not in emitted for stop in stops)
    assert text.startswith(emitted)
    assert stream.stopped == any(stop in text for stop in stops)
    if not stream.stopped:
        assert emitted == text


@pytest.mark.parametrize(("text", "pieces"), [("one STOP two", "one "), ("one STO two", "one STO two")])
def test_what_may_be_a_stop_string_is_held_back(text, pieces):
    got, stream = _stream(text, ["STOP"])
    assert "".join(got) + stream.finish() == pieces
    assert got[4:7] == ["", "", ""]


def test_a_character_that_is_never_completed_is_replaced():
    stream = TextStream(TOKENIZER, [])
    tokens = TOKENIZER.encode("aé").ids
    assert [stream.push(token) for token in tokens[:-1]] == ["a", ""]
    assert stream.finish() == "\ufffd"
