"""The chain of the audit: each entry holds the hash of the one before, and one that failed ends its chain."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from backbone.errors import BrokerUnavailableError
from backbone.security.audit import Audit, digest, snapshot
from schemas import codec
from schemas.errors import Problem
from schemas.records import AuditEntry, DeadLetter, Step, Task
from schemas.topics import AUDIT
from tests.support import Log, apart

TASK = Task(
    kind="mail.classify", id="t", owner="ann", payload=b'{"raw": "love"}', reply_to=["mailto:ann@example.com"],
    then=[Step(kind="llm.chat", payload=b'{"prompt": "secret"}')],
)  # fmt: skip


class Paper:
    """Where entries are written; it tears when told to."""

    def __init__(self):
        self.entries = []
        self.torn = False

    async def send(self, topic, key, record):
        assert (topic, key) == (AUDIT, record.chain)
        await asyncio.sleep(0)
        if self.torn:
            raise BrokerUnavailableError
        self.entries.append(codec.decode(codec.encode(record), AuditEntry))
        return 0, len(self.entries) - 1


def chained(entries):
    """Return whether entries are one chain from its beginning."""
    previous = ""
    for number, entry in enumerate(entries):
        if (entry.seq, entry.previous, entry.chain) != (number, previous, entries[0].chain):
            return False
        previous = digest(codec.encode(entry))
    return True


async def write(audit, resource="dead-letters/t", **more):
    await audit.write("ann", "127.0.0.1", "dead-letters.drop", resource, "allowed", **more)


async def test_entries_that_are_written_at_once_are_one_chain():
    paper = Paper()
    audit = Audit(paper, lambda: 7)
    await asyncio.gather(*(write(audit, str(number)) for number in range(20)))
    assert len(paper.entries) == 20
    assert chained(paper.entries)
    assert not chained(paper.entries[1:])
    assert not chained([*paper.entries[:3], *paper.entries[4:]])


async def test_an_entry_that_may_not_have_been_written_ends_its_chain():
    paper = Paper()
    names = iter("abc")
    audit = Audit(paper, lambda: 7, lambda: next(names))
    await write(audit)
    paper.torn = True
    with pytest.raises(BrokerUnavailableError):
        await write(audit)
    paper.torn = False
    await write(audit)
    assert [(entry.chain, entry.seq, entry.previous) for entry in paper.entries] == [("a", 0, ""), ("b", 0, "")]


def test_a_snapshot_keeps_no_words_of_people():
    letter = DeadLetter(at=1, error=Problem("mail.broken", "no mail: love"), task=TASK, raw=b"love")
    text = snapshot(letter).decode()
    plain = json.loads(text)
    assert "love" not in text
    assert "secret" not in text
    assert "example.com" not in text
    assert (plain["task"]["id"], plain["error"]["code"], plain["task"]["payload"]) == ("t", "mail.broken", "***")


async def test_the_chain_holds_the_hashes_of_the_bytes_that_lie_in_kafka(stack):
    from aiokafka import AIOKafkaConsumer

    from backbone.kafka import Producer, aiokafka_config, name_of

    settings = await apart(stack.settings, "audit")
    producer = Producer(settings)
    await producer.start()
    async with Log(settings, AUDIT) as log:
        audit = Audit(producer, lambda: 7)
        for _ in range(3):
            await write(audit, before=TASK)
        entries = await log.until(lambda entries: len(entries) == 3)
        assert chained(entries)
        assert json.loads(entries[0].before)["id"] == "t"
    await producer.stop()
    async with AIOKafkaConsumer(
        name_of(settings, AUDIT), **aiokafka_config(settings), group_id=None, auto_offset_reset="earliest"
    ) as consumer:
        values = [(await consumer.getone()).value for _ in range(3)]
    assert entries[1].previous == hashlib.sha256(values[0]).hexdigest()
