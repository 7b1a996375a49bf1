"""Text as it comes: whole characters, stop strings across token borders, the same however the tokens are grouped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from inference_worker.text import Detokenizer, TextStream
from tests.inference_worker import spelling


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
    stream = TextStream(Detokenizer(TOKENIZER), stops)
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


def with_added_tokens() -> Tokenizer:
    """Byte-level, with a token that was added, whose letters stand for no bytes."""
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken("日本 x"), AddedToken("\u0142")])  # the latter's letter stands for a byte
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer


def with_byte_fallback() -> Tokenizer:
    """As Llama 2 has it: words with a mark for the blank before them, and bytes of what is in no word."""
    vocabulary = {token: i for i, token in enumerate(["<unk>", *(f"<0x{n:02X}>" for n in range(256)), "\u2581a", "b"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    mended = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(mended)
    return tokenizer


def by_words() -> Tokenizer:
    """Its tokens are words, with blanks between them but not before a full stop."""
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "do": 1, "##es": 2, ".": 3, "n't": 4}))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


@pytest.mark.parametrize("tokenizer", [with_added_tokens(), with_byte_fallback(), by_words()])
@given(data=st.data())
def test_the_text_is_what_the_tokenizer_makes_of_all_tokens(tokenizer, data):
    tokens = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=12))
    stream = TextStream(Detokenizer(tokenizer))
    emitted = "".join(stream.push(token) for token in tokens) + stream.finish()
    whole = tokenizer.decode(tokens, skip_special_tokens=True)
    # Where bytes are no text, a tokenizer with byte fallback makes U+FFFD of whole ones beside them too: it sees them all.
    assert emitted == whole or (set(emitted) | {"\ufffd"} >= set(whole) and "\ufffd" in whole)


def test_bytes_that_are_no_text_are_replaced_and_the_rest_stays():
    tokenizer = with_byte_fallback()
    stream = TextStream(Detokenizer(tokenizer))
    ids = [
        tokenizer.token_to_id(each)
        for each in ("\u2581a", "<0x41>", "<0xC3>", "\u2581a", "<0xC3>", "<0xA9>", "b", "<0xE2>")
    ]
    assert [stream.push(token) for token in ids] == ["a", "A", "", "\ufffd a", "", "\u00e9", "b", ""]
    assert stream.finish() == "\ufffd"


@given(
    st.lists(st.integers(0, spelling.tokenizer().get_vocab_size() - 1), max_size=30),
    st.lists(st.sampled_from(["a", "ad", "bad", "é", "ret of", ", ", '": ', "\ufffd", "日本", "x"]), max_size=3),
)
def test_any_tokens_at_all_give_the_text_of_a_naive_oracle(tokens, stops):
    stream = TextStream(Detokenizer(spelling.tokenizer()), stops)
    emitted = ""
    for count, token in enumerate(tokens, start=1):
        emitted += stream.push(token)
        emitted.encode()
        known = spelling.tokenizer().decode(tokens[:count], skip_special_tokens=True)
        assert known.startswith(emitted)
        if known.endswith("\ufffd") and not stream.stopped:
            continue  # what may still become a character
        if found := [known.find(stop) for stop in stops if stop in known]:
            assert (stream.stopped, emitted) == (True, known[: min(found)])
            return
    assert not stream.stopped
    emitted += stream.finish()
    whole = spelling.tokenizer().decode(tokens, skip_special_tokens=True)
    assert emitted == whole[: min((whole.find(stop) for stop in stops if stop in whole), default=len(whole))]


@pytest.mark.parametrize(("text", "pieces"), [("one STOP two", "one "), ("one STO two", "one STO two")])
def test_what_may_be_a_stop_string_is_held_back(text, pieces):
    got, stream = _stream(text, ["STOP"])
    assert "".join(got) + stream.finish() == pieces
    assert got[4:7] == ["", "", ""]


def test_a_character_that_is_never_completed_is_replaced():
    stream = TextStream(Detokenizer(TOKENIZER), [])
    tokens = TOKENIZER.encode("aé").ids
    assert [stream.push(token) for token in tokens[:-1]] == ["a", ""]
    assert stream.finish() == "\ufffd"
