"""What is drawn: the same for the same seed, all that there is to draw, and how stillness is measured."""

from __future__ import annotations

from collections import Counter
from random import Random

from backbone import slots
from schemas.records import Misfire
from schemas.tiers import Tier
from tests.chaos import faults, load
from tests.chaos.faults import Blow
from tests.chaos.plan import Plan


def test_a_run_of_the_same_seed_is_the_same():
    assert Plan.whole(5, 300, 10) == Plan.whole(5, 300, 10)
    assert Plan.whole(5, 300, 10).faults != Plan.whole(6, 300, 10).faults
    asks = [load.draw(Random(5), tasks=300, seconds=60, run="r") for _ in range(2)]
    assert asks[0] == asks[1]


def test_the_mix_has_every_row_in_every_tier():
    asks = load.draw(Random(1), tasks=3000, seconds=60, run="r", mix=load.WITH_MODEL)
    assert {ask.what for ask in asks} == set(load.What) == set(load.WITH_MODEL)
    assert {work.tier for ask in asks for work in ask.work} == set(Tier)
    assert len({ask.name for ask in asks}) == 3000
    assert [ask.after for ask in asks] == sorted(ask.after for ask in asks)


def test_a_chain_may_end_in_one_way_at_each_step_and_fails_at_its_last_alone():
    for ask in load.draw(Random(1), tasks=3000, seconds=60, run="r"):
        assert all(work.ends for work in ask.work)
        assert all(work.ends != load.FAILS for work in ask.work[:-1])


def test_the_model_is_asked_and_struck_only_where_it_takes_part():
    assert load.What.ASK not in {ask.what for ask in load.draw(Random(1), tasks=3000, seconds=60, run="r")}
    assert faults.MODEL not in {fault.process for fault in Plan.whole(1, 10, 10).faults}
    assert faults.MODEL in {fault.process for fault in Plan.whole(1, 10, 10, model=True).faults}


def test_timers_of_each_misfire_policy_are_ones_that_the_service_takes():
    made = load.draw_timers(Random(1), count=12, every_ms=(1000, 2000), run="r", now=1_800_000_000_000)
    assert {timer.misfire for timer in made} == set(Misfire)
    assert any(timer.cron for timer in made)
    assert len({timer.id for timer in made}) == 12
    for timer in made:
        slots.check(timer)
        assert next(slots.slots_after(timer, timer.created_at)) > timer.created_at


def test_the_whole_run_has_each_fault_three_times_and_each_second_process_comes_before_it_goes():
    drawn = Plan.whole(3, 5000, 12).faults
    kinds = Counter(fault.kind for fault in drawn)
    assert set(kinds) == {f"{target} {blow}" for target, blow in faults.ALL} | {
        f"second {blow}" for blow in (Blow.JOIN, Blow.LEAVE, Blow.VANISH)
    }
    assert min(kinds.values()) >= 3
    assert [fault.after for fault in drawn] == sorted(fault.after for fault in drawn)
    visits = [fault for fault in drawn if fault.kind.startswith("second")]
    for come, go in zip(visits[::2], visits[1::2], strict=True):
        assert come.blow is Blow.JOIN
        assert go.blow in {Blow.LEAVE, Blow.VANISH}
        assert come.process == go.process
    assert all(fault.seconds > 6 for fault in drawn if fault.blow is Blow.FREEZE)


def test_the_short_run_strikes_workers_timers_valkey_and_kafka():
    assert {fault.process.partition("-")[0] for fault in Plan.short(1).faults} == {
        "streams",
        "timers",
        "valkey",
        "kafka",
    }
