"""The inference benchmark: its short form answers on every way, and what its parts count is right."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from random import Random

import pytest

from benchmarks.inference.asking import PROMPT_TOKENS, Ask, Heard, prompt
from benchmarks.inference.chart import draw
from benchmarks.inference.course import Results, Wave
from benchmarks.inference.rows import rows
from benchmarks.inference.server import Server
from inference_worker.models import catalog


def test_a_prompt_has_its_tokens_and_is_like_no_other():
    from gguf import GGUFReader

    field = GGUFReader(catalog.source("smollm2-135m-instruct").file).fields["tokenizer.ggml.tokens"]
    vocabulary = {bytes(field.parts[index]).decode() for index in field.data}
    chance = Random(1)
    prompts = [prompt(chance) for _ in range(50)]
    assert len(set(prompts)) == 50
    for text in prompts:
        first, *others = text.split(" ")
        assert {first, *(f"Ġ{word}" for word in others)} <= vocabulary
        assert 1 + len(others) == PROMPT_TOKENS


def test_times_are_of_the_tokens_and_not_of_the_answer():
    heard = Heard(asked=10.0, first=10.05, last=10.35, tokens=4)
    assert heard.ttft_ms == pytest.approx(50)
    assert heard.tpot_ms == pytest.approx(100)
    assert Heard(10.0, 10.05, 10.05, 1).tpot_ms == 0


def test_an_answer_of_another_length_is_refused():
    server = Server("a server", lambda port, streams: [], {}, None)
    server.check(Ask("", 64), prompt=62, answer=64)
    for numbers in ({"prompt": 61, "answer": 64}, {"prompt": 62, "answer": 63}):
        with pytest.raises(RuntimeError, match="a server: "):
            server.check(Ask("", 64), **numbers)


def results(**per_second):
    """Return the results of rounds of one stream with these speeds."""
    found = Results()
    for way, rounds in per_second.items():
        for speed in rounds:
            heard = Heard(0.0, 10 / speed, 64 / speed, 64, 5 / speed * 1000)
            found.waves[way, 1].append(Wave([heard], 64 / speed))
        found.memory_mb[way] = [100.0, 300.0]
        found.warm[way] = [1.0, 2.0, 3.0]
        found.alone[way], found.loaded[way] = [10.0, 20.0], [30.0, 41.0]
    return found


def test_each_round_counts_against_whoever_of_the_peers_was_better_in_it():
    found = results(engine=[100.0, 100.0, 100.0], whole=[80.0, 80.0, 80.0], a=[50.0, 90.0, 40.0], b=[80.0, 60.0, 70.0])
    by_metric = {row.metric: row for row in rows(found, "engine", "whole", ["a", "b"])}
    ratio = by_metric["1 stream, engine: times the better peer's, median of rounds"]
    assert ratio.ours == 1.25
    assert ratio.met is True
    assert by_metric["1 stream, engine: tokens a second"].peer_name == "b"
    assert by_metric["1 stream, whole: times the better peer's, median of rounds"].met is True
    first = by_metric["1 stream, engine: TTFT p50 (ms)"]
    assert (first.ours, first.peer, first.peer_name, first.met) == (100.0, 142.9, "b", False)
    assert by_metric["1 stream, whole path over the engine's own TTFT, p50 (ms)"].ours == 75
    urgent = by_metric["engine: urgent TTFT p99 beside batch streams (ms)"]
    assert (urgent.ours, urgent.peer, urgent.met) == (41.0, 20.0, False)
    assert by_metric["whole: memory of the process that runs the model, at most (MB)"].ours == 300


def test_the_picture_has_a_curve_for_each_way_in_each_panel():
    found = results(engine=[100.0], whole=[80.0], a=[50.0])
    for way in ("engine", "whole", "a"):
        found.waves[way, 4] = found.waves[way, 1]
    drawn = ET.fromstring(draw(found, ["engine", "whole", "a"]))
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))) == 6
    assert {"engine", "whole", "a", "4"} <= {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.slow
def test_the_short_form_answers_on_every_way(tmp_path):
    plot = tmp_path / "plot.svg"
    command = [sys.executable, "-m", "benchmarks", "inference", "--quick", "--json", "--plot", str(plot)]
    # Whether a goal is met on a loaded machine is no matter of a test.
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode in {0, 1}, done.stderr
    report = json.loads(done.stdout)
    speeds = [row for row in report["rows"] if row["metric"].endswith("tokens a second")]
    assert len(speeds) == 2
    assert all(row["ours"] > 0 and row["peer"] > 0 for row in speeds)
    assert plot.read_text().startswith("<svg")
