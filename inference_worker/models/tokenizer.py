"""Text to token ids: the chat template, the model's tokenizer, and which tokens end an answer.

Only `tokenizers` and jinja2 are needed here: importing transformers would cost the worker seconds and hundreds of MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from inference_worker.errors import UnsupportedOptionError
from inference_worker.models import files
from inference_worker.models.chat_template import ChatTemplate
from inference_worker.text import Detokenizer
from inference_worker.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inference_worker.conversation import Tool
    from inference_worker.models.files import ModelFiles
    from inference_worker.prompt import Turn

_WORD_JOINER = "\u2060"
_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


class ModelTokenizer:
    """A model's tokenizer and chat template."""

    def __init__(self, tokenizer: Tokenizer, config: dict[str, Any], ends: Iterable[int]) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: the tokenizer itself.
            config: `tokenizer_config.json`: the template and the special tokens that it names.
            ends: ids of the tokens that end an answer.
        """
        self.tokenizer = tokenizer
        self.ends = frozenset(ends)
        self.detokenizer = Detokenizer(tokenizer)
        self.vocabulary = Vocabulary(tokenizer, self.ends)
        self._special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
        names = {name: _content(config[name]) for name in _NAMES if config.get(name)}
        sources = _templates(config.get("chat_template"))
        self._templates = {name: ChatTemplate(source, names) for name, source in sources.items()}

    @classmethod
    def load(cls, model: ModelFiles) -> ModelTokenizer:
        """Read the tokenizer of a converted model."""
        ends = model.json(files.CONFIG)["eos_token_id"]
        config = model.json(files.TOKENIZER_CONFIG)
        beside = model.folder / files.CHAT_TEMPLATE
        if beside.is_file():
            config["chat_template"] = beside.read_text(encoding="utf-8")
        return cls(
            Tokenizer.from_file(str(model.folder / files.TOKENIZER)), config, ends if isinstance(ends, list) else [ends]
        )

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Return the ids of a text; a special token that it spells out is read as that token.

        Args:
            text: any.
            special: whether the tokens that the tokenizer puts around a text are put around this one.
        """
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    def chat(
        self, turns: Iterable[Turn], *, tools: Sequence[Tool] = (), continues: bool = False, at: int = 0
    ) -> list[int]:
        """Return the ids of a conversation, up to where the assistant's next words begin.

        Args:
            turns: the conversation.
            tools: what the model may ask to have called.
            continues: whether it goes on with the last turn, which is the assistant's.
            at: when the request was made, ms since the epoch.

        Raises:
            RequestError: the model has no template, or the template can't show the conversation.
        """
        messages = [self._all_plain(turn.message()) for turn in turns]
        described = [
            self._all_plain(tool.model_dump(exclude_none=True, exclude={"function": {"strict"}})) for tool in tools
        ]
        template = self.template(tools=bool(tools))
        return self.encode(template.render(messages, tools=described, continues=continues, at=at))

    def template(self, *, tools: bool) -> ChatTemplate:
        """Return the template for conversations with or without tools.

        Raises:
            UnsupportedOptionError: the model has none.
        """
        if not self._templates:
            raise UnsupportedOptionError("this model has no chat template: it serves llm.complete", field="kind")
        if tools and "tool_use" in self._templates:
            return self._templates["tool_use"]
        return self._templates.get("default") or next(iter(self._templates.values()))

    @property
    def calls_in_tags(self) -> bool:
        """Whether the template says that calls of tools stand in `<tool_call>`."""
        return bool(self._templates) and self.template(tools=True).calls_in_tags

    def plain(self, text: str) -> str:
        """Keep a text from being read as a control token, such as the end of the turn that it is in."""
        for special in self._special:
            text = text.replace(special, special[0] + _WORD_JOINER + special[1:])
        return text

    def _all_plain(self, value: Any) -> Any:
        match value:
            case str():
                return self.plain(value)
            case dict():
                return {self.plain(key): self._all_plain(inner) for key, inner in value.items()}
            case list():
                return [self._all_plain(inner) for inner in value]
        return value


def _content(token: str | dict[str, Any]) -> str:
    """Return a special token's text; some configs describe it beside."""
    return token if isinstance(token, str) else str(token["content"])


def _templates(config: str | list[dict[str, str]] | None) -> dict[str, str]:
    """Return templates by name; most models have one, without a name."""
    if isinstance(config, list):
        return {one["name"]: one["template"] for one in config}
    return {"default": config} if config else {}
