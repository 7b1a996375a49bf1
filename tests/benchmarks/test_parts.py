"""What the benchmarks share: percentiles, rows that check their goal, the shape of the JSON, the picture."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

import psutil
import pytest

from benchmarks.dispatch.churn import takeover
from benchmarks.dispatch.latency import Series, backlog
from benchmarks.dispatch.system import Watch
from benchmarks.dispatch.work import Handed, handed, work
from benchmarks.measure import cpu_seconds, percentile, spread
from benchmarks.plot import Curve, curves
from benchmarks.report import Report, row, show
from schemas.tiers import Tier


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (95, 95), (99, 99), (100, 100), (1, 1)])
def test_a_percentile_is_the_nearest_rank(percent, value):
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == value


def test_a_percentile_of_few_is_one_of_them():
    assert percentile([3.0], 99) == 3.0
    assert percentile([1.0, 2.0], 50) == 1.0


def test_spread_is_a_share_of_the_median_and_one_round_has_none():
    assert spread([9.0, 10.0, 12.0]) == pytest.approx(0.3)
    assert spread([9.0]) is None
    assert spread([0.0, 0.0]) is None


def test_cpu_time_counts_what_runs_below():
    before = cpu_seconds([os.getpid()])
    work("id", 30, "", "")
    assert cpu_seconds([os.getpid()]) > before


@pytest.mark.parametrize(
    ("ours", "bounds", "met"),
    [
        (1.0, {"at_most": 1.0}, True),
        (1.1, {"at_most": 1.0}, False),
        (2.0, {"at_least": 2.0}, True),
        (1.9, {"at_least": 2.0}, False),
        (1.0, {}, None),
    ],
)
def test_a_goal_is_checked(ours, bounds, met):
    assert row("m", ours, **bounds).met is met


def test_a_row_without_a_peer_names_none_and_has_no_ratio():
    alone = row("m", 1.0, peer_name="p")
    assert (alone.peer, alone.peer_name, alone.ratio) == (None, None, None)
    assert row("m", 1.0, 0.0, peer_name="p").ratio is None
    assert row("m", 3.0, 2.0, peer_name="p", spreads=(0.1, None, 0.25)).spread == 0.25


REPORT = Report("n", [row("m", 3.0, 2.0, peer_name="p", at_most=4, goal="at most 4"), row("second", 1.0)])


def test_json_is_one_object_of_the_agreed_shape_on_standard_output(capsys):
    show(REPORT, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "name": "n",
        "rows": [
            {"metric": "m", "ours": 3.0, "peer": 2.0, "peer_name": "p", "ratio": 1.5, "spread": None,
             "goal": "at most 4", "met": True},
            {"metric": "second", "ours": 1.0, "peer": None, "peer_name": None, "ratio": None, "spread": None,
             "goal": None, "met": None},
        ],
    }  # fmt: skip


def test_a_pipe_gets_plain_lines_with_tabs(capsys):
    show(REPORT, as_json=False)
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        ["metric", "ours", "peer", "peer_name", "ratio", "spread", "goal", "met"],
        ["m", "3.0", "2.0", "p", "1.5", "", "at most 4", "yes"],
        ["second", "1.0", "", "", "", "", "", ""],
    ]


def test_a_person_gets_a_table_with_every_row(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    show(REPORT, as_json=False)
    shown = capsys.readouterr().out
    assert "┃" in shown
    assert "second" in shown
    assert "peer: p" in shown


def test_a_picture_is_well_formed_and_names_its_curves():
    svg = curves([Curve("a & b", [(1.0, 0.0), (20.0, 1.0)], "red"), Curve("c", [(2.0, 0.5)], "blue")], title="t < u")
    texts = [text.text for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"a & b", "c", "t < u", "10"} <= set(texts)


def test_a_series_takes_percentiles_over_all_rounds_and_of_each():
    series = Series([[0.001, 0.002], [0.003, 0.004]])
    assert series.ms(50) == 2.0
    assert series.ms_by_round(50) == [1.0, 3.0]


def test_what_is_done_is_told_once_and_what_is_missing_is_left_out():
    watch = Watch()
    for task in ("one", "two"):
        watch.note(task)
    assert set(watch.wait(["one", "three"], 0)) == {"one"}
    assert set(watch.wait(["one", "two"], 0)) == {"two"}


def test_a_task_that_failed_spoils_the_measurement():
    watch = Watch()
    watch.note("one", failed="expired")
    with pytest.raises(RuntimeError, match="expired"):
        watch.wait(["one"], 0)


def test_a_task_leaves_a_line_each_time_and_does_nothing_once_its_gate_is_gone(tmp_path):
    log, gate = tmp_path / "log", tmp_path / "gate"
    for _ in range(2):
        work("id", 10_000, str(gate), str(log))
    assert [each.task_id for each in handed(log)] == ["id", "id"]


def test_a_takeover_ends_when_the_last_of_what_the_dead_held_is_handed_on():
    lines = [
        Handed("done before", 1, 8.0),
        Handed("held", 1, 9.9),
        Handed("held too", 1, 9.9),
        Handed("another's", 2, 11.0),
        Handed("held", 2, 15.0),
        Handed("held too", 2, 15.5),
        Handed("another's", 3, 30.0),
    ]
    assert takeover(lines, {1}, 10.0, 99.0) == 5.5
    assert takeover(lines[:4], {1}, 10.0, 99.0) == 99.0


class Heap:
    """A system whose backlog is a list."""

    name = "heap"

    def __init__(self, *, at_work: bool) -> None:
        self.watch = Watch()
        self.at_work = at_work
        self.dropped = False

    def submit_many(self, tier, work, count):
        ids = [f"{tier}-{number}" for number in range(count)]
        for task_id in ids if self.at_work else ids[1:]:
            self.watch.note(task_id)
        return ids

    def drop(self, tiers):
        self.dropped = True
        return True


def test_a_backlog_is_gone_after_its_round(tmp_path):
    heap = Heap(at_work=False)
    with backlog(heap, [Tier.LOW], 3, tmp_path / "gate"):
        assert (tmp_path / "gate").exists()
        assert not heap.dropped
    assert heap.dropped
    assert not (tmp_path / "gate").exists()


def test_a_backlog_that_ran_dry_spoils_the_measurement(tmp_path):
    with pytest.raises(RuntimeError, match="ran dry"), backlog(Heap(at_work=True), [Tier.LOW], 3, tmp_path / "gate"):
        pass


def test_an_error_under_a_backlog_is_not_kept_waiting_for_it(tmp_path):
    heap = Heap(at_work=False)
    with pytest.raises(LookupError), backlog(heap, [Tier.LOW], 3, tmp_path / "gate"):
        raise LookupError
    assert not heap.dropped


BENCHMARK = """
import os, sys, time
from pathlib import Path
from benchmarks.dispatch.system import Worker
print(Worker([sys.executable, "-c", "import time; time.sleep(600)"], os.environ, Path(sys.argv[1])).pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_benchmark_that_is_killed_leaves_no_worker_behind(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", BENCHMARK, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as running:
        worker = psutil.Process(int(running.stdout.readline()))
        running.send_signal(signal.SIGKILL)
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
