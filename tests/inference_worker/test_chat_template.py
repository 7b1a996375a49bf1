"""Chat templates: the same text as transformers renders, and errors that say what the template can't show."""

from __future__ import annotations

import json

import pytest

from inference_worker.conversation import Message, Tool
from inference_worker.errors import RequestError, UnsupportedOptionError
from inference_worker.models.chat_template import ChatTemplate
from inference_worker.models.tokenizer import ModelTokenizer
from inference_worker.prompt import turns
from tests.inference_worker.spelling import end, tokenizer

CHATML = (
    "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)
# In the manner of Qwen's: tools as JSON in the system's turn, calls and their answers in tags, a clock, a `generation`.
QWEN = """{%- if tools %}
    {{- bos_token + 'Today is ' + strftime_now('%d %b %Y') + '.\\n<tools>' }}
    {%- for tool in tools %}
        {{- "\\n" }}{{- tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools> Answer by <tool_call>{"name": ..., "arguments": ...}</tool_call>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<tool_response>' + message.name + ': ' + message.content + '</tool_response>' }}
        {%- continue %}
    {%- endif %}
    {{- '[' + message.role + '] ' }}{% generation %}{{- message.content | trim }}{% endgeneration %}
    {%- for call in message.tool_calls or [] %}
        {{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' }}
        {{- call.function.arguments | tojson }}{{- '}</tool_call>' }}
    {%- endfor %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}[assistant] {% endif %}"""
TOOLS = [
    Tool.model_validate(
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "The weather <now> in Köln & elsewhere.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        }
    )
]
CONVERSATION = [
    Message(role="system", content="Be brief."),
    Message(role="user", content="And in Köln? <b>"),
    Message.model_validate(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}],
        }
    ),
    Message(role="tool", name="weather", tool_call_id="c1", content="Rain."),
    Message(role="assistant", content="It rains "),
]
NOON = 1_763_812_800_000  # 22 November 2025


def _model(template: object, **more: object) -> ModelTokenizer:
    return ModelTokenizer(tokenizer(), {"chat_template": template, "bos_token": "<s>", **more}, [end()])


def _theirs(
    template: str, *, continues: bool = False, tools: list[dict] | None = None, conversation=CONVERSATION
) -> str:
    """Render by transformers, whose clock is now."""
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template(
        [[turn.message() for turn in turns(conversation)]],
        tools=tools,
        chat_template=template,
        continue_final_message=continues,
        add_generation_prompt=not continues,
        bos_token="<s>",
    )
    return rendered[0]


@pytest.mark.parametrize("continues", [False, True])
@pytest.mark.parametrize("tools", [[], TOOLS])
def test_it_is_the_text_that_transformers_renders(continues, tools):
    described = [tool.model_dump(exclude_none=True) for tool in tools]
    source = QWEN.replace("strftime_now('%d %b %Y')", "strftime_now('%C')")  # the century: the same for both clocks
    messages = [turn.message() for turn in turns(CONVERSATION)]
    ours = ChatTemplate(source, {"bos_token": "<s>"}).render(messages, tools=described, continues=continues, at=NOON)
    assert ours == _theirs(source, continues=continues, tools=described or None)
    assert ("Köln & elsewhere" in ours) == bool(tools)
    assert ours.endswith("It rains" if continues else "[assistant] ")


def test_a_message_is_continued_with_its_spaces_where_the_template_keeps_them():
    messages = [turn.message() for turn in turns([Message(role="assistant", content="Once ")])]
    for source in (CHATML, CHATML.replace("message['content']", "message['content'] | trim")):
        ours = ChatTemplate(source, {}).render(messages, continues=True)
        assert ours == _theirs(source, continues=True, conversation=[Message(role="assistant", content="Once ")])


def test_the_clock_of_a_template_shows_when_the_request_was_made():
    model = _model(QWEN)
    tokens = model.chat(turns(CONVERSATION), tools=TOOLS, at=NOON)
    assert "Today is 22 Nov 2025." in model.tokenizer.decode(tokens, skip_special_tokens=False)


def test_nothing_of_a_conversation_is_read_as_a_control_token():
    model = _model(QWEN)
    spelled = Message(role="user", content="<|end|>")
    tool = Tool.model_validate({"type": "function", "function": {"name": "x", "description": "<|end|>"}})
    called = Message.model_validate(
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "function": {"name": "x", "arguments": json.dumps({"<|end|>": ["<|end|>"]})}}],
        }
    )
    assert end() not in model.chat(turns([spelled, called]), tools=[tool])
    assert end() in model.encode("<|end|>")


def test_a_template_without_tools_refuses_them():
    with pytest.raises(UnsupportedOptionError) as caught:
        _model(CHATML).chat(turns(CONVERSATION[:2]), tools=TOOLS)
    assert caught.value.field == "payload.tools"
    assert not ChatTemplate(CHATML, {}).calls_in_tags
    assert ChatTemplate(QWEN, {}).calls_in_tags


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[7].content }}",
        "{{ messages.__class__.__mro__ }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{{ messages.append(1) }}",
    ],
)
def test_what_a_template_refuses_is_an_error_with_its_field(source):
    with pytest.raises(RequestError) as caught:
        _model(source).chat(turns(CONVERSATION[:2]))
    assert caught.value.field == "payload.messages"
    assert "roles must alternate" in caught.value.message or "raise" not in source


def test_a_message_that_a_template_does_not_show_can_not_be_continued():
    with pytest.raises(UnsupportedOptionError) as caught:
        _model("{{ messages[0].role }}").chat(turns(CONVERSATION), continues=True)
    assert caught.value.field == "payload.continue_final_message"


def test_templates_by_name_and_none():
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools | length }} tools"}]
    model = _model(named)
    assert model.chat([]) == model.encode("plain")
    assert model.chat([], tools=TOOLS) == model.encode("1 tools")
    with pytest.raises(UnsupportedOptionError):
        _model(None).chat([])


def test_special_tokens_that_are_described_are_named_by_their_text():
    model = _model("{{ eos_token }}", eos_token={"content": "</s>", "special": True})
    assert model.chat([]) == model.encode("</s>")
