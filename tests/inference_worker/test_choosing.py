"""The choice of a token by all that a request asks for, in its order, and what is told of it."""

from __future__ import annotations

import numpy as np
import pytest

from inference_worker.bad_words import BadWords
from inference_worker.choosing import Choice, Guides
from inference_worker.constraints import Constraints
from inference_worker.errors import ConstraintError
from inference_worker.options import Regex, Sampling
from inference_worker.sequence import Sequence
from inference_worker.text import Detokenizer, TextStream
from schemas.records import FinishReason
from tests.inference_worker.spelling import end, tokenizer, vocabulary

SIZE = 380


def _token(text: str) -> int:
    (token,) = tokenizer().encode(text).ids
    return token


def _scores(**liked: float) -> np.ndarray:
    scores = np.zeros(SIZE, dtype=np.float32)
    for text, score in liked.items():
        scores[end() if text == "END" else _token(text)] = score
    return scores


def _sequence(how: Sampling, seed: int = 0, **more) -> Sequence:
    text = TextStream(Detokenizer(tokenizer()))
    return Sequence(id="t", prompt=[1], how=how, seed=seed, rank=1, deadline=10**6, text=text, **more)


def _greedy(**options) -> Sampling:
    return Sampling(temperature=0, **options)


def test_the_model_may_not_end_before_the_least_number_of_tokens():
    choice = Choice(_greedy(min_tokens=2), 0, [])
    scores = _scores(END=9, a=5)
    for _ in range(2):
        assert choice.next(scores, [end()]) == _token("a")
        choice.take(_token("a"))
    assert choice.next(scores, [end()]) == end()


def test_the_model_may_never_end_where_its_end_is_ignored():
    choice = Choice(_greedy(ignore_eos=True, max_tokens=3), 0, [])
    for _ in range(3):
        assert choice.next(_scores(END=9, a=5), [end()]) == _token("a")
        choice.take(_token("a"))


def test_penalties_come_before_the_temperature_and_leave_the_models_scores_alone():
    choice = Choice(_greedy(frequency_penalty=1.5), 0, [])
    scores = _scores(a=5, b=4)
    kept = scores.copy()
    drawn = []
    for _ in range(4):
        drawn.append(choice.next(scores, [end()]))
        choice.take(drawn[-1])
    assert drawn == [_token(letter) for letter in "abab"]
    np.testing.assert_array_equal(scores, kept)


def test_a_constraint_comes_before_all_else():
    constraint = Constraints(vocabulary()).compile(Regex(type="regex", regex="(b|c){2}"))
    choice = Choice(_greedy(presence_penalty=2), 0, [], Guides(constraint=constraint))
    scores = _scores(END=9, a=8, b=2, c=1)
    drawn = []
    while not choice.done:
        drawn.append(choice.next(scores, [end()]))
        choice.take(drawn[-1])
    assert drawn == [_token("b"), _token("c")]


def test_where_only_an_end_is_left_the_answer_may_end():
    constraint = Constraints(vocabulary()).compile(Regex(type="regex", regex="b?"))
    choice = Choice(_greedy(min_tokens=5), 0, [], Guides(constraint=constraint))
    assert choice.next(_scores(END=9, a=8), [end()]) == _token("b")
    choice.take(_token("b"))
    assert choice.done


def test_what_leaves_nothing_to_say_is_an_error_with_its_field():
    constraint = Constraints(vocabulary()).compile(Regex(type="regex", regex="b"))
    guides = Guides(constraint=constraint, bad_words=BadWords(["b"], vocabulary()))
    with pytest.raises(ConstraintError) as caught:
        Choice(_greedy(), 0, [], guides).next(_scores(), [end()])
    assert caught.value.field == "payload.bad_words"
    sequence = _sequence(_greedy(), limit=9, guides=guides)
    assert sequence.take(_scores(), [end()]).finish is FinishReason.ERROR
    assert sequence.failure.field == "payload.bad_words"


def test_bad_words_are_in_no_text():
    for seed in range(20):
        how = Sampling(temperature=2, top_p=1, bad_words=["a", "se", "é"], max_tokens=60, ignore_eos=True)
        guides = Guides(bad_words=BadWords(how.bad_words, vocabulary()))
        sequence = _sequence(how, seed, limit=60, guides=guides)
        text = ""
        while sequence.ended is None:
            output = sequence.take(_scores(s=6, e=6, a=6), [end()])
            text += output.text + output.tail
        assert not any(word in text for word in how.bad_words)
        assert "s" in text


def test_log_probabilities_are_the_models_own():
    probabilities = np.full(SIZE, 0.1 / (SIZE - 2), dtype=np.float32)
    probabilities[_token("a")], probabilities[_token("b")] = 0.6, 0.3
    scores = np.log(probabilities) + 7  # a softmax does not see what is added to all
    how = _greedy(logprobs=True, top_logprobs=2, presence_penalty=2)
    choice = Choice(how, 0, [], Guides(vocabulary=vocabulary()))
    choice.take(_token("a"))
    token = choice.next(scores, [end()])
    entry = choice.logprob(scores, token)
    assert token == _token("b")
    assert (entry["token"], entry["bytes"]) == ("b", [98])
    assert entry["logprob"] == pytest.approx(np.log(0.3), abs=1e-5)
    assert [(one["token"], round(one["logprob"], 4)) for one in entry["top_logprobs"]] == [
        ("a", -0.5108),
        ("b", -1.204),
    ]
    assert Choice(_greedy(), 0, []).logprob(scores, token) is None


def test_half_a_character_has_its_bytes():
    half = tokenizer().encode("ł").ids[0]
    choice = Choice(_greedy(logprobs=True), 0, [], Guides(vocabulary=vocabulary()))
    entry = choice.logprob(_scores(), half)
    assert entry["bytes"] == [0xC5]
    assert entry["token"] == "\ufffd"
    assert entry["top_logprobs"] == []
