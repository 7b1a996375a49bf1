from __future__ import annotations

import base64
import os
import sys
from importlib.resources import files
from pathlib import Path
from subprocess import run

import pytest

from backbone.settings import Settings
from streams.handlers.mail import MailClassify
from streams.mail.result import MAX_TEXT
from tests.contracts.handler import HandlerContract, context, read

SAMPLES = files("barnabas") / "samples"


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.eml").read_bytes()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.mark.slow
class TestMailClassify(HandlerContract):
    handler_class = MailClassify

    @pytest.fixture
    def settings(self, home):
        return Settings(home=home)

    @pytest.fixture
    def example(self):
        return {"raw": sample("invoice").decode()}

    @pytest.fixture
    def bad(self):
        return {
            "raw": {"raw": "just a sentence"},
            "raw_base64": {"raw_base64": base64.b64encode(b"just a sentence").decode()},
            "": {},
            "payload.raw_ref": {"raw_ref": "blob:sha256:" + "0" * 64},
            "labels": {"raw": "From: a@example.com\n\nhi", "labels": {"only": "one"}},
        }

    @pytest.mark.parametrize("name", ["invoice", "personal", "newsletter"])
    async def test_each_sample_gets_its_own_label(self, handler, name):
        result = await handler.run(read(handler, {"raw": sample(name).decode()}), context())
        assert result.top == name
        assert list(result.labels.values()) == sorted(result.labels.values(), reverse=True)
        assert sum(result.labels.values()) == pytest.approx(1)
        assert (result.mended, result.route, result.head_version) == ([], None, 0)

    @pytest.mark.parametrize(
        ("top", "raw"),
        [
            (
                "work",
                "Subject: Q3 report\n\nHi all, comments on the draft report by Thursday please, then I send it to the client.",
            ),
            (
                "travel",
                "Subject: Gatwick to Lisbon\n\nBooking X7K2PQ. Depart Monday 10:40, arrive 13:20. Check in online.",
            ),
            (
                "security",
                "Subject: Was this you?\n\nA sign-in to your account from Warsaw. If not, reset your password now.",
            ),
            (
                "support",
                "Subject: Re: [Ticket 4471] Printer offline\n\nThanks for contacting us. Please restart the printer.",
            ),
        ],
    )
    async def test_other_plain_cases(self, handler, top, raw):
        assert (await handler.run(read(handler, {"raw": raw}), context())).top == top

    async def test_what_is_spam_is_told_apart_from_what_is_not_and_why(self, handler):
        raw = (
            "From: PRIZE DESK <win8823@prizes.example>\nSubject: WINNER!!!\n\nDear lucky winner, click here to claim your "
            "one million now, send bank details!!! 100% free money"
        )
        spam = await handler.run(read(handler, {"raw": raw}), context())
        ham = await handler.run(read(handler, {"raw": sample("personal").decode()}), context())
        assert (spam.spam.is_spam, ham.spam.is_spam) == (True, False)
        assert spam.spam.probability > 0.5 > ham.spam.probability
        assert spam.reason.spam

    async def test_what_a_mail_says_of_itself_is_told(self, handler):
        raw = (
            "From: Lea <lea@example.com>\nTo: Nadia <nadia@example.com>, ben@example.com\nSubject: Fwd: lunch\n"
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + "See below. " * 1000 + "\n"
            "--b\nContent-Type: application/pdf; name=menu.pdf\n\n%PDF\n"
            "--b\nContent-Type: message/rfc822\n\nFrom: Ada <ada@example.com>\nSubject: lunch\n\nAt noon?\n--b--\n"
        )
        told = (await handler.run(read(handler, {"raw": raw}), context())).model_dump(by_alias=True)
        assert (told["from"], told["to"]) == ("Lea <lea@example.com>", ["nadia@example.com", "ben@example.com"])
        assert len(told["text"]) == MAX_TEXT
        assert [(file["name"], file["type"]) for file in told["attachments"]] == [("menu.pdf", "application/pdf")]
        assert [(inner["subject"], inner["from"]) for inner in told["forwarded"]] == [
            ("lunch", "Ada <ada@example.com>")
        ]

    async def test_a_mail_may_be_an_upload(self, handler):
        where = context()
        put = await where.blobs.put(sample("personal"))
        by_ref = await handler.run(read(handler, {"raw_ref": put.ref}), where)
        assert by_ref == await handler.run(read(handler, {"raw": sample("personal").decode()}), where)

    async def test_bytes_and_text_of_a_mail_are_the_same_mail(self, handler):
        as_text = await handler.run(read(handler, {"raw": sample("personal").decode()}), context())
        as_bytes = {"raw_base64": base64.b64encode(sample("personal")).decode()}
        assert await handler.run(read(handler, as_bytes), context()) == as_text
        assert as_text.from_ == "Odile Lefèvre <odile@lefevre.example.com>"
        assert as_text.model_dump(by_alias=True)["from"] == as_text.from_

    async def test_a_user_s_own_labels_take_the_place_of_the_built_in_ones(self, handler):
        labels = {"garden": "gardening, plants, vegetables and compost", "money": "bills, bank accounts and payments"}
        for name, top in (("newsletter", "garden"), ("invoice", "money")):
            result = await handler.run(read(handler, {"raw": sample(name).decode(), "labels": labels}), context())
            assert result.top == top
            assert set(result.labels) == set(labels)


@pytest.mark.parametrize("module", ["cron", "mail", "mail_correct", "web"])
def test_a_handler_s_module_loads_nothing_heavy(module):
    heavy = {
        "torch",
        "transformers",
        "onnx",
        "onnxruntime",
        "tokenizers",
        "numpy",
        "trafilatura",
        "parsel",
        "lxml",
        "httpx",
    }
    program = f"import sys, streams.handlers.{module}; print(*sorted({heavy!r} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root, env=os.environ)
    assert done.stdout.split() == []
