"""A model's chat template, rendered as transformers renders it: a conversation and its tools to one text.

The environment is that of `transformers.utils.chat_template_utils` (jinja2, sandboxed, the same filters and functions),
without importing transformers; a test holds both to the same text. One thing differs: the template's clock shows when
the request was made, so that every worker that takes it up renders the same prompt.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateError, meta
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inference_worker.errors import RequestError, UnsupportedOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jinja2 import Template
    from jinja2.nodes import Node
    from jinja2.parser import Parser

_CONTINUED: Final = "CONTINUE_FINAL_MESSAGE_TAG "


class ChatTemplate:
    """One template."""

    def __init__(self, source: str, names: Mapping[str, Any]) -> None:
        """Compile a template.

        Args:
            source: the template itself.
            names: special tokens that it may name, such as `bos_token`.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _refuse
        self._environment = environment
        self._template: Template = environment.from_string(source)
        self._names = dict(names)
        self.takes_tools = "tools" in meta.find_undeclared_variables(environment.parse(source))
        """Whether it says anything of tools."""
        self.calls_in_tags = "<tool_call>" in source
        """Whether the model calls a tool by JSON between `<tool_call>` and `</tool_call>`, as Hermes and Qwen do."""

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        tools: Sequence[dict[str, Any]] = (),
        continues: bool = False,
        at: int = 0,
    ) -> str:
        """Return a conversation as text.

        Args:
            messages: in the form of the OpenAI API, the arguments of calls as objects.
            tools: in the same form.
            continues: whether the model goes on with the last message; else it begins one of its own.
            at: what the template's clock shows, ms since the epoch.

        Raises:
            UnsupportedOptionError: there are tools, and the template has no place for them.
            RequestError: the template refuses the conversation; the message is the template's own.
        """
        if tools and not self.takes_tools:
            raise UnsupportedOptionError("this model's chat template knows no tools", field="payload.tools")
        if continues:
            last = messages[-1]
            messages = [*messages[:-1], {**last, "content": last["content"] + _CONTINUED}]
        try:
            text = self._template.render(
                messages=messages,
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=not continues,
                strftime_now=_clock(at),
                **self._names,
            )
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            raise RequestError(f"the model's chat template refuses it: {error}", field="payload.messages") from None
        return _up_to_the_tag(text) if continues else text


def _up_to_the_tag(text: str) -> str:
    """Return what comes before the end of the last message, without spaces where the template takes those away."""
    place = text.rfind(_CONTINUED.strip())
    if place < 0:
        raise UnsupportedOptionError(
            "this model's chat template does not show the last message as it is", field="payload.continue_final_message"
        )
    return text[:place] if text.startswith(_CONTINUED, place) else text[:place].rstrip()


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own would escape what HTML would take for tags."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _clock(at: int) -> Callable[[str], str]:
    return lambda form: datetime.fromtimestamp(at / 1000, UTC).strftime(form)


class _Generation(Extension):
    """`{% generation %}` marks what an assistant said, for training; here it is the text between."""

    tags = {"generation"}  # noqa: RUF012 - the type that jinja2 gives it

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    @staticmethod
    def _same(caller: Callable[[], str]) -> str:
        return caller()
