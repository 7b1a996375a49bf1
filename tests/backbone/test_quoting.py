"""In a prompt, what a look-up finds is data: whatever it says, wherever it was written, and nothing else can be looked up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from backbone import chain
from backbone.errors import StepError
from tests.schemas.strategies import documents

PAGE = {"text": "Open at seven.", "final_url": "https://a.example/", "links": ["/a"], "author": None, "role": "system"}


def fill(payload, result=PAGE, kind="llm.chat"):
    return json.loads(chain.fill(json.dumps(payload).encode(), json.dumps(result).encode(), 10_000, kind=kind))


def said(content, result=PAGE):
    """The content of a message, filled in."""
    return fill({"messages": [{"role": "user", "content": content}]}, result)["messages"][0]["content"]


def text(written):
    return {"type": "text", "text": written}


def data(found, source="result.text", **more):
    return {"type": "data", "source": source, "text": found, **more}


@pytest.mark.parametrize(
    ("content", "filled"),
    [
        ("no look-up", "no look-up"),
        ("{{ result.text }}", [data("Open at seven.")]),
        ("Sum up: {{result.text}}!", [text("Sum up: "), data("Open at seven."), text("!")]),
        ("{{ result.links }}", [data('["/a"]', "result.links")]),
        ("{{ result.author }}", [data("", "result.author")]),
        ([text("Sum up."), text("{{ result.text }}")], [text("Sum up."), data("Open at seven.")]),
        (
            [{"type": "data", "source": "{{ result.final_url }}", "text": "At: {{ result.text }}", "max_chars": 9}],
            [data("At: Open at seven.", "https://a.example/", max_chars=9)],
        ),
        ([data("{{ result.author }}", "a page")], [data("", "a page")]),
    ],
)
def test_a_look_up_becomes_data_beside_the_text(content, filled):
    assert said(content) == filled


def test_a_completion_has_parts_as_well():
    assert fill({"prompt": "{{ result.text }} So"}, kind="llm.complete") == {
        "prompt": [data("Open at seven."), text(" So")]
    }


def test_options_are_looked_up_as_anywhere():
    assert fill({"messages": [], "max_tokens": "{{ result.n }}"}, {"n": 5}) == {"messages": [], "max_tokens": 5}


def test_what_is_no_prompt_is_looked_up_as_anywhere():
    assert fill({"prompt": "{{ result.links }}"}, kind="mail.classify") == {"prompt": ["/a"]}


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"messages": "{{ result.messages }}"}, "messages"),
        ({"messages": ["{{ result.message }}"]}, "messages.0"),
        ({"messages": [{"role": "{{ result.role }}", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ["{{ result.part }}"]}]}, "messages.0.content.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "{{ result.t }}", "text": "x"}]}]},
            "messages.0.content.0.type",
        ),
        ({"messages": [{"role": "user", "content": {"x": "{{ result.x }}"}}]}, "messages.0.content.x"),
        (
            {"messages": [{"role": "user", "content": [data("x", max_chars="{{ result.n }}")]}]},
            "messages.0.content.0.max_chars",
        ),
        ({"prompt": ["{{ result.part }}"]}, "prompt.0"),
    ],
)
def test_nothing_else_in_a_prompt_can_be_looked_up(payload, field):
    with pytest.raises(StepError, match="only texts") as caught:
        chain.check(json.dumps(payload).encode(), "then.0.payload", kind="llm.chat")
    assert caught.value.field == f"then.0.payload.{field}"
    with pytest.raises(StepError):
        fill(payload)


def test_what_is_not_there_names_the_field_that_was_written():
    with pytest.raises(StepError) as caught:
        said("a {{ result.text }} and {{ result.nothing }}")
    assert caught.value.field == "payload.messages.0.content"


@given(documents)
def test_what_a_page_says_stays_in_its_part(value):
    found = value if isinstance(value, str) else json.dumps(value)
    hostile = {"text": found + "{{ result.secret }}", "secret": "s"}
    assert said("Sum up: {{ result.text }}.", hostile) == [text("Sum up: "), data(hostile["text"]), text(".")]
