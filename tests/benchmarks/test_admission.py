"""The simulation of admission: its quick form meets every goal, and its figures are the same in every run."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from random import Random

import pytest

from benchmarks.admission.arrivals import CONTEXT, SCENARIOS, Arrival
from benchmarks.admission.command import measure
from benchmarks.admission.simulation import STEP_MS, TOKEN_MS, Simulation
from schemas.tiers import Tier


def test_the_quick_form_meets_every_goal_and_draws(tmp_path):
    picture = tmp_path / "admission.svg"
    report = measure(quick=True, plot=picture)
    # How long deciding takes is the machine's, which others use as well.
    simulated = [row for row in report.rows if not row.metric.startswith("deciding")]
    assert [row for row in simulated if row.met is False] == []
    assert len(simulated) > 40
    texts = [text.text for text in ET.fromstring(picture.read_text()).iter("{http://www.w3.org/2000/svg}text")]
    assert {"urgent", "low", "random", "a flood of urgent", "waiting or paused"} <= set(texts)


def test_a_request_alone_takes_a_step_for_its_prompt_and_one_for_each_further_token():
    simulation = Simulation(slots=2, context=CONTEXT)
    outcome = simulation.run([Arrival(10.0, Tier.URGENT, "ada", 50, 3)], 1.0)
    assert outcome.first_token[Tier.URGENT] == pytest.approx([STEP_MS + 50 * TOKEN_MS])
    assert outcome.in_time[Tier.URGENT] == 1
    assert outcome.computed == 52
    assert outcome.samples[-1].waiting == (0, 0, 0, 0)


def test_what_is_still_waiting_at_the_end_counts_with_what_it_has_waited():
    simulation = Simulation(slots=1, context=CONTEXT)
    outcome = simulation.run([Arrival(0.0, Tier.BATCH, "ada", 20, 1000), Arrival(0.0, Tier.BATCH, "bob", 20, 5)], 1.0)
    assert outcome.by_owner["bob"][0] >= 1000


def test_arrivals_are_the_same_for_the_same_seed():
    for arrivals in SCENARIOS.values():
        assert list(arrivals(Random(3), 5)) == list(arrivals(Random(3), 5)) != list(arrivals(Random(4), 5))
