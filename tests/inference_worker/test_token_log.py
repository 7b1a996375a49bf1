"""What was accepted never changes and never repeats, whoever writes to the log and whenever they die."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.token_log import TokenLog
from schemas.records import DeltaType, FinishReason, TokenDelta


def _claim(task: str = "t", digest: str = "d") -> TokenDelta:
    return TokenDelta(task_id=task, type=DeltaType.CLAIM, claim=-1, index=0, digest=digest, format="bfloat16")


def _tokens(claim: int, index: int, ids: list[int], task: str = "t") -> TokenDelta:
    return TokenDelta(task_id=task, type=DeltaType.TOKENS, claim=claim, index=index, token_ids=ids, text=f"{ids}")


def _end(claim: int, index: int, task: str = "t") -> TokenDelta:
    return TokenDelta(task_id=task, type=DeltaType.END, claim=claim, index=index, finish_reason=FinishReason.STOP)


def _fold(*deltas: TokenDelta, log: TokenLog | None = None) -> TokenLog:
    log = log or TokenLog()
    for offset, delta in enumerate(deltas):
        log.fold(offset, delta)
    return log


def test_a_later_claim_goes_on_and_the_earlier_one_is_heard_no_more():
    log = _fold(_claim(), _tokens(0, 0, [5, 6]), _claim(digest="e"), _tokens(0, 2, [7]), _tokens(2, 2, [8]), _end(0, 3))
    accepted = log["t"]
    assert accepted
    assert (accepted.tokens, accepted.claim, accepted.first, accepted.finish) == ([5, 6, 8], 2, 0, None)
    assert accepted.previous == ("d", "bfloat16")
    assert accepted.text == "[5, 6][8]"


def test_nothing_follows_an_end_but_a_new_claim():
    log = _fold(_claim(), _tokens(0, 0, [5]), _end(0, 1), _tokens(0, 1, [6]))
    assert log["t"].tokens == [5]
    assert log["t"].finish is FinishReason.STOP
    assert log.floor() is None
    log.fold(4, _claim())
    assert log.floor() == 0


def test_a_record_that_came_twice_counts_once():
    assert _fold(_claim(), _tokens(0, 0, [5]), _tokens(0, 0, [5]), _tokens(0, 1, [6]))["t"].tokens == [5, 6]


def test_a_hole_is_not_jumped_over():
    assert _fold(_claim(), _tokens(0, 1, [6]))["t"].tokens == []


def test_only_so_many_ended_requests_are_remembered():
    log = TokenLog(remembered=2)
    for n in range(4):
        log.fold(3 * n, _claim(str(n)))
        log.fold(3 * n + 1, _end(3 * n, 0, str(n)))
    assert [log[str(n)] is not None for n in range(4)] == [False, False, True, True]
    log.forget("3")
    assert log["3"] is None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=60))
def test_workers_that_go_on_from_what_they_read_write_one_unbroken_answer(moves):
    """Three workers take over from one another at any moment, zombies go on: the answer is 0, 1, 2, …"""
    log = TokenLog()
    claims: dict[int, int] = {}
    written: dict[int, int] = {}
    for offset, (worker, action) in enumerate(moves):
        if action == 1 or worker not in claims:
            log.fold(offset, _claim())
            claims[worker] = offset
            written[worker] = len(log["t"].tokens)
        else:
            ids = list(range(written[worker], written[worker] + action))
            log.fold(offset, _tokens(claims[worker], written[worker], ids))
            written[worker] += action
        assert log["t"].tokens == list(range(len(log["t"].tokens)))


def test_log_probabilities_are_kept_with_their_tokens_and_only_those_that_count():
    said = [_claim(), _tokens(0, 0, [1]), _tokens(7, 1, [9]), _tokens(0, 1, [2])]
    log = _fold(*[msgspec.structs.replace(one, logprobs=b"[%d]" % at) for at, one in enumerate(said)])
    assert log["t"].logprobs == [b"[1]", b"[3]"]
