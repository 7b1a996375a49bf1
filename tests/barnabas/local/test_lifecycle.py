from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from barnabas.local.health import HttpProbe
from barnabas.local.lifecycle import Patience, Restart, drain_waves
from barnabas.local.processes import Process

restarts = st.builds(
    Restart,
    first=st.floats(0.01, 5),
    factor=st.floats(1, 4),
    longest=st.floats(5, 300),
    well=st.floats(1, 600),
    tries=st.integers(1, 10),
)


@given(restarts, st.integers(1, 100_000), st.floats(0, 1))
def test_a_wait_is_between_half_and_all_of_the_backoff_and_never_over_the_longest(
    restart: Restart, failures: int, jitter: float
) -> None:
    full = restart.delay(failures, 1.0)
    assert full / 2 <= restart.delay(failures, jitter) <= full <= restart.longest


@given(restarts, st.integers(1, 1000))
def test_each_further_failure_waits_at_least_as_long(restart: Restart, failures: int) -> None:
    assert restart.delay(failures + 1, 1.0) >= restart.delay(failures, 1.0)


def test_the_first_waits_double_up_to_the_longest() -> None:
    restart = Restart(first=0.5, factor=2.0, longest=4.0)
    assert [restart.delay(n, 1.0) for n in range(1, 6)] == [0.5, 1.0, 2.0, 4.0, 4.0]


def test_good_service_forgives_earlier_failures_and_less_does_not() -> None:
    restart = Restart(well=60)
    assert restart.failures(7, served=60.0) == 1
    assert restart.failures(7, served=59.9) == 8
    assert restart.failures(0, served=0.0) == 1


@given(st.integers(1, 20), st.lists(st.booleans(), max_size=60))
def test_only_silences_in_a_row_run_out_of_patience(silences: int, answers: list[bool]) -> None:
    patience = Patience(silences=silences)
    silent = 0
    for asked, alive in enumerate(answers, start=1):
        silent = patience.silent(silent, alive=alive)
        last = answers[max(0, asked - silences) : asked]
        assert patience.is_out(silent) == (len(last) == silences and not any(last))


def _process(name: str, drain_order: int) -> Process:
    return Process(
        name=name,
        command=("true",),
        probe=HttpProbe("127.0.0.1", 1),
        drain_order=drain_order,
        drain_timeout=1,
        start_timeout=1,
    )


@given(st.lists(st.integers(0, 3)))
def test_draining_goes_through_the_orders_upwards_and_leaves_nobody_out(orders: list[int]) -> None:
    processes = [_process(str(n), order) for n, order in enumerate(orders)]
    waves = drain_waves(processes)
    assert [wave[0].drain_order for wave in waves] == sorted(set(orders))
    assert all(len({process.drain_order for process in wave}) == 1 for wave in waves)
    assert {process.name for wave in waves for process in wave} == {process.name for process in processes}
