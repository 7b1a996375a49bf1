"""Tool calls in the text of an answer."""

from __future__ import annotations

import json

import pytest

from inference_worker.tool_calls import parted

TOOLS = {"get_weather", "add"}


def _calls(text: str) -> list[tuple[str, dict]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in parted(text, TOOLS, "t")[1]]


def test_calls_are_taken_out_of_the_text():
    said = (
        'I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    )
    text, calls = parted(said, TOOLS, "t")
    assert text == "I look."
    assert [call.function.name for call in calls] == ["get_weather", "add"]
    assert calls[0].function.arguments == '{"city": "Köln"}'
    assert calls == parted(said, TOOLS, "t")[1]
    assert len({call.id for call in calls + parted(said, TOOLS, "u")[1]}) == 4


def test_a_list_of_calls_and_one_that_is_not_closed_are_calls():
    assert _calls('<tool_call>[{"name": "add", "arguments": {"a": 1}}, {"name": "add"}]</tool_call>') == [
        ("add", {"a": 1}),
        ("add", {}),
    ]
    assert _calls('<tool_call>\n{"name": "add", "arguments": {}}') == [("add", {})]


@pytest.mark.parametrize(
    "said",
    [
        "no call at all",
        '<tool_call>{"name": "add", "arguments": {"a"',
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "add", "arguments": 5}</tool_call>',
        '<tool_call>{"name": "add\\n", "arguments": {}}</tool_call>',
        "<tool_call>" + "[" * 100_000,
        '{"name": "add", "arguments": {}}',
    ],
)
def test_what_is_no_call_stays_text(said):
    assert parted(said, TOOLS, "t") == (said, [])
