"""Mails that the operator's policy sends on: by the handler, and through real tiers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from backbone.ids import new_id
from backbone.settings import Settings, TierTable
from schemas import topics
from schemas.records import Status
from schemas.tiers import Tier
from streams.errors import PolicyError
from streams.handlers.mail import MailClassify
from streams.handlers.port import Followed
from streams.mail.result import SPARSEST, MailResult
from tests.contracts.handler import context, read
from tests.streams.mail.letters import BOOKING, CLUB, letter
from tests.support import Log, apart, beside, produce_bytes

POLICY = """
[[rule]]
name = "manager"
from = "ines@example.com"
authenticated = "mx.example.com"
tier = "urgent"
then = [{ kind = "cron.parse", payload = { expression = "{{ result.subject }}" } }]

[[rule]]
name = "journeys"
category = "travel"
"""
PASSED = "Authentication-Results: mx.example.com; dmarc=pass header.from=example.com\r\n"
URGENT = letter("every monday at 8", "Send me the report now.", "Ines <ines@example.com>", PASSED)
FORGED = letter("every monday at 8", "Send me the report now.", "Ines <ines@example.com>")


def test_a_policy_that_makes_no_sense_keeps_a_tier_from_starting(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text('[[rule]]\nname = "x"\nform = "y"')
    with pytest.raises(PolicyError, match="form"):
        MailClassify(Settings(home=tmp_path, mail_policy=file))


def test_look_ups_of_a_policy_find_what_each_result_has():
    assert MailResult.model_validate_json(SPARSEST).route is None
    assert {field.alias or name for name, field in MailResult.model_fields.items()} == set(json.loads(SPARSEST))


@pytest.mark.slow
async def test_a_rule_s_steps_follow_unless_the_task_has_its_own(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "policy.toml").write_text(POLICY)
    handler = MailClassify(Settings(home=home, mail_policy=home / "policy.toml"))
    routed = await handler.run(read(handler, {"raw": URGENT}), context())
    assert isinstance(routed, Followed)
    assert (routed.result.route, [(step.kind, step.tier) for step in routed.then]) == (
        "manager", [("cron.parse", Tier.URGENT)],
    )  # fmt: skip
    kept = await handler.run(read(handler, {"raw": URGENT}), replace(context(), chained=True))
    assert kept == routed.result
    assert (await handler.run(read(handler, {"raw": FORGED}), context())).route is None
    assert (await handler.run(read(handler, {"raw": BOOKING}), context())).route == "journeys"
    await handler.close()


@pytest.mark.stack
@pytest.mark.slow
async def test_through_the_tiers(settings, tmp_path):
    own = await apart(settings, "mail-routes")
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    patient = {
        tier: getattr(TierTable(), tier).model_copy(update={"start_by": timedelta(seconds=300)}) for tier in Tier
    }
    more = {"mail_policy": policy, "tiers": TierTable(**patient)}
    services = ("streams-batch", "streams-realtime", "streams-urgent")
    async with beside(own, tmp_path / "home", *services, **more) as running, Log(own, topics.RESULTS) as results:

        async def submit(tier, kind, owner="ada", **payload):
            it = {"id": new_id(), "kind": kind, "owner": owner, "payload": payload}
            await produce_bytes(own, topics.TASKS[tier], json.dumps(it).encode(), key=it["id"].encode())
            return it["id"]

        async def ended(*ids):
            def all_there(events):
                return {event.task_id for event in events if event.status.terminal} >= set(ids)

            events = await results.until(all_there, limit=150)
            ends = {event.task_id: event for event in reversed(events) if event.status.terminal}
            return [ends[identity] for identity in ids]

        # A policy's step runs in its tier.
        (first,) = await ended(await submit(Tier.BATCH, "mail.classify", raw=URGENT))
        assert (first.status, json.loads(first.result)["route"]) == (Status.SUCCEEDED, "manager")
        (step,) = await ended(first.next_id)
        assert (step.status, step.tier, step.owner, step.root_id) == (
            Status.SUCCEEDED,
            Tier.URGENT,
            "ada",
            first.task_id,
        )
        assert json.loads(step.result)["fires"]

        # A correction is taught once, whoever dies meanwhile, and every tier knows it.
        made = await submit(Tier.REALTIME, "mail.correct", raw=CLUB, category="security")
        versions = tmp_path / "home" / "blobs" / "versions"
        async with asyncio.timeout(150):
            while not any(path.is_file() for path in versions.glob("*/*/*")):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0)
        os.kill(running.pid("streams-realtime"), signal.SIGKILL)
        (taught,) = await ended(made)
        assert (taught.status, json.loads(taught.result)["corrections"]) == (Status.SUCCEEDED, 1)
        mine, theirs = await ended(
            await submit(Tier.BATCH, "mail.classify", raw=CLUB),
            await submit(Tier.BATCH, "mail.classify", "ben", raw=CLUB),
        )
        assert json.loads(mine.result)["top"] == "security"
        assert json.loads(mine.result)["head_version"] == json.loads(taught.result)["version"]
        assert (json.loads(theirs.result)["head_version"], json.loads(theirs.result)["top"] == "security") == (0, False)
