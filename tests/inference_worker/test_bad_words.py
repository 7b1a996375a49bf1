"""Bad words: nowhere in an answer, whatever tokens it comes in, and nothing else is banned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_worker.bad_words import BadWords, SaidSoFar
from tests.inference_worker.spelling import tokenizer, vocabulary

words = st.lists(st.text("abdest é", min_size=1, max_size=5), min_size=1, max_size=4)


def _banned(said: list[int], bad: list[str]) -> set[int]:
    so_far = SaidSoFar(BadWords(bad, vocabulary()))
    for token in said:
        so_far.take(token)
    scores = np.zeros(vocabulary().index.vocab_size, dtype=np.float32)
    so_far.ban(scores)
    return set(np.flatnonzero(scores == -np.inf).tolist())


@given(st.text("abdest é", max_size=20), words)
@settings(deadline=None)
def test_banned_is_exactly_what_would_complete_one(text, bad):
    spelled = vocabulary()
    coded = [word.encode() for word in bad]
    said: list[int] = []
    for token in tokenizer().encode(text).ids:  # as far as it holds none yet
        if any(word in b"".join(map(spelled.bytes_of, [*said, token])) for word in coded):
            break
        said.append(token)
    before = b"".join(map(spelled.bytes_of, said))
    completing = {
        token
        for token in range(spelled.index.vocab_size)
        if any(word in before + spelled.bytes_of(token) for word in coded)
    }
    assert _banned(said, bad) == completing


@pytest.mark.parametrize("pieces", [["secret"], ["sec", "ret"], ["s", "e", "c", "r", "e", "t"]])
def test_a_word_is_banned_however_it_is_cut(pieces):
    spelled = vocabulary()
    by_bytes = {spelled.bytes_of(token): token for token in range(spelled.index.vocab_size)}
    tokens = [by_bytes[letter.encode()] for piece in pieces[:-1] for letter in piece]
    last = pieces[-1].encode()
    rest = {token for said, token in by_bytes.items() if said.startswith(last)}
    assert rest <= _banned(tokens, ["secret"]) or not rest
    assert not rest & _banned(tokens, ["secretary"])
