"""Steps for a model on their way in: a look-up that could say more than data is refused before anything runs."""

from __future__ import annotations

import json

import pytest
from obstore.store import MemoryStore

from backbone.blobs import Blobs
from backbone.settings import Settings
from connectors.errors import PayloadError
from connectors.kinds import Kinds
from connectors.payloads import Payloads, StepWish
from inference_worker.kinds import announcements

PART = {"type": "data", "source": "{{ result.final_url }}", "text": "{{ result.text }}", "max_chars": 100}


@pytest.fixture
def payloads(tmp_path):
    kinds = Kinds()
    for kind in announcements():
        kinds.put(kind.kind, kind)
    return Payloads(Settings(home=tmp_path), kinds, Blobs(MemoryStore(), most=2**20))


def chat(content, role="user"):
    return StepWish(kind="llm.chat", payload={"messages": [{"role": role, "content": content}]})


@pytest.mark.parametrize(
    "content", ["Sum up: {{ result.text }}", [PART], "no look-up", [{"type": "text", "text": "x"}]]
)
async def test_texts_and_data_may_be_looked_up_and_stay_as_they_were_written(payloads, content):
    wish = chat(content)
    assert json.loads((await payloads.step(wish, "then.0")).payload) == wish.payload


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (chat("x", role="{{ result.role }}"), "then.0.payload.messages.0.role"),
        (StepWish(kind="llm.chat", payload={"messages": "{{ result.messages }}"}), "then.0.payload.messages"),
        (chat("{{ 7*7 }}"), "then.0.payload.messages.0.content"),
        (chat([{"type": "data", "text": 5}]), "then.0.payload.messages.0.content.0.text"),
        (StepWish(kind="llm.complete", payload={"prompt": ["{{ result }}"]}), "then.0.payload.prompt.0"),
    ],
)
async def test_what_could_say_more_is_refused_by_name(payloads, wish, field):
    with pytest.raises(PayloadError) as caught:
        await payloads.step(wish, "then.0")
    assert caught.value.field == field
