"""`mail.correct`, and what `mail.classify` makes of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from backbone.errors import BlobMissingError
from backbone.settings import Settings
from backbone.versions import Versions
from schemas.records import Status
from streams.errors import HeadError, PayloadError
from streams.handlers.mail import MailClassify
from streams.handlers.mail_correct import MailCorrect
from streams.mail.heads import NAME, Heads
from streams.mail.labels import URGENCIES
from tests.contracts.handler import HandlerContract, context, read
from tests.streams.dispatching import dispatcher, records, task
from tests.streams.mail.letters import BOOKING, CLUB, CLUB_AGAIN

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home whose model is converted once for all tests."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def place(home, tmp_path):
    """Settings with a store of one's own: nobody has taught anything."""
    return Settings(home=home, blob_url=f"file://{tmp_path}")


@pytest.fixture
async def correct(place):
    handler = MailCorrect(place)
    yield lambda owner="nadia", **payload: handler.run(read(handler, payload), replace(context(), owner=owner))
    await handler.close()


@pytest.fixture
async def classify(place):
    handler = MailClassify(place)
    yield lambda owner="nadia", **payload: handler.run(read(handler, payload), replace(context(), owner=owner))
    await handler.close()


class TestMailCorrect(HandlerContract):
    handler_class = MailCorrect

    @pytest.fixture
    def settings(self, place):
        return place

    @pytest.fixture
    def example(self):
        return {"raw": CLUB, "category": "travel"}

    @pytest.fixture
    def bad(self):
        return {
            "raw": {"raw": "just a sentence", "spam": True},
            "category": {"raw": CLUB, "category": "rowing"},
            "urgency": {"raw": CLUB, "urgency": "higher"},
            "payload.raw_ref": {"raw_ref": "blob:sha256:" + "0" * 64, "spam": True},
            "": {"raw": CLUB},
        }

    async def test_two_at_once_are_as_one_alone(self, handler, example):
        together = await asyncio.gather(*(handler.run(read(handler, example), context()) for _ in range(4)))
        assert sorted(result.version for result in together) == [1, 2, 3, 4]
        assert {(result.corrections, result.after.category) for result in together} == {(1, "travel")}


async def test_a_correction_counts_at_once_for_mails_like_it_and_for_no_others(correct, classify):
    club, booking = await classify(raw=CLUB_AGAIN), await classify(raw=BOOKING)
    assert (club.head_version, club.top == "security", booking.top) == (0, False, "travel")
    made = await correct(raw=CLUB, category="security", urgency="high", spam=True)
    assert (made.version, made.corrections) == (1, 1)
    assert (made.before.category, made.after.category) == (club.top, "security")
    assert (made.after.urgency, made.after.is_spam) == ("high", True)
    again, other = await classify(raw=CLUB_AGAIN), await classify(raw=BOOKING)
    assert (again.top, again.urgency.label, again.spam.is_spam, again.head_version) == ("security", "high", True, 1)
    assert (other.top, other.urgency, other.spam) == (booking.top, booking.urgency, booking.spam)


async def test_what_one_owner_teaches_is_nothing_to_another(correct, classify):
    await correct(raw=CLUB, category="security")
    theirs = await classify("ben", raw=CLUB)
    assert (theirs.head_version, theirs.top == "security") == (0, False)


async def test_of_corrections_at_once_none_is_lost(correct, place):
    made = await asyncio.gather(
        correct(raw=CLUB, category="security"),
        correct(raw=BOOKING, category="personal"),
        correct(raw=BOOKING, urgency="low"),
    )
    assert sorted(result.version for result in made) == [1, 2, 3]
    head = (await Heads(Versions.of(place)).of("nadia")).head
    assert (len(head), set(head.names)) == (2, {"security", "personal"})
    assert [URGENCIES[code] for code in head.urgencies if code >= 0] == ["low"]


async def test_a_user_s_own_labels_can_be_taught(correct, classify):
    labels = {"sport": "a message about sport", "plans": "a plan for the week"}
    first = (await classify(raw=CLUB, labels=labels)).top
    (other,) = set(labels) - {first}
    made = await correct(raw=CLUB, labels=labels, category=other)
    assert (made.before.category, made.after.category) == (first, other)
    assert (await classify(raw=CLUB_AGAIN, labels=labels)).top == other
    with pytest.raises(PayloadError, match="none of plans, sport"):
        await correct(raw=CLUB, labels=labels, category="work")


async def test_what_can_t_be_read_is_named_by_both_and_forgotten_on_demand(correct, classify, place):
    await correct(raw=CLUB, category="security")
    await Versions.of(place).add("nadia", NAME, 2, b"not a head")
    result = await classify(raw=CLUB)
    assert (result.head_version, result.top == "security") == (2, False)
    assert "version 2" in result.head_error
    with pytest.raises(HeadError, match="forget"):
        await correct(raw=CLUB, category="security")
    forgot = await correct(forget=True)
    assert (forgot.corrections, forgot.after) == (0, None)
    assert (await classify(raw=CLUB)).head_error is None
    assert (await correct(raw=CLUB, category="security")).version == forgot.version + 1


async def test_forget_stands_alone_and_a_mail_by_ref_must_be_there(correct):
    with pytest.raises(PayloadError, match=r"^`forget` stands alone"):
        await correct(forget=True, raw=CLUB)
    with pytest.raises(BlobMissingError):
        await correct(raw_ref="blob:sha256:" + "0" * 64, spam=True)


@pytest.mark.stack
async def test_who_dies_between_the_head_and_the_outcome_has_taught_once(redis, place, monkeypatch):
    what = task(kind="mail.correct", raw=CLUB, category="security")
    wrote = asyncio.Event()
    add = Versions.add

    async def add_and_hang(self, *args):
        await add(self, *args)
        wrote.set()
        await asyncio.Event().wait()

    async with dispatcher(redis) as (dying, *_):
        dying.handlers = {"mail.correct": MailCorrect(place)}
        with monkeypatch.context() as patched:
            patched.setattr(Versions, "add", add_and_hang)
            running = asyncio.create_task(dying.run(what))
            await wrote.wait()
            running.cancel()
            await asyncio.wait([running])
        await dying.handlers["mail.correct"].close()
    async with dispatcher(redis) as (other, *_):
        other.handlers = {"mail.correct": MailCorrect(place)}
        (end,) = records(await other.run(what))
        await other.handlers["mail.correct"].close()
    assert end.status is Status.SUCCEEDED
    learnt = json.loads(end.result)
    assert (learnt["version"], learnt["corrections"]) == (2, 1)
    # What it was called before is with what the first try taught: that is what a mail would have been called.
    assert learnt["before"]["category"] == learnt["after"]["category"] == "security"
