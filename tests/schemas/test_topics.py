"""The table of topics holds together."""

from __future__ import annotations

from schemas import records, topics
from schemas.tiers import Tier


def test_names_are_unique():
    assert len(topics.BY_NAME) == len(topics.ALL)


def test_each_tier_has_a_task_and_an_inference_topic():
    for tier in Tier:
        assert topics.for_kind("cron.parse", tier).name == f"tasks.{tier}"
        assert topics.for_kind("llm.chat", tier).name == f"inference.{tier}"


def test_tables_that_are_looked_up_by_key_are_compacted_and_logs_expire():
    compacted = {topic.name for topic in topics.ALL if topic.retention is None}
    assert compacted == {"timers", "timers.state", "kinds", "models"}
    assert topics.RESULTS.config() == {"cleanup.policy": "delete", "retention.ms": str(7 * 24 * 3600 * 1000)}


def test_terminal_statuses():
    assert {status for status in records.Status if status.terminal} == {"succeeded", "failed", "expired", "cancelled"}
