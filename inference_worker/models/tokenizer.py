"""Text to token ids: the chat template, the model's tokenizer, and which tokens end an answer.

Only `tokenizers` and jinja2 are needed here: importing transformers would cost the worker seconds and hundreds of MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from inference_worker.models import files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inference_worker.models.files import ModelFiles
    from inference_worker.prompt import Turn

_WORD_JOINER = "\u2060"


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
        self._names = {name: config[name] for name in ("bos_token", "eos_token") if name in config}
        self._special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        self._template = environment.from_string(config["chat_template"])

    @classmethod
    def load(cls, model: ModelFiles) -> ModelTokenizer:
        """Read the tokenizer of a converted model."""
        ends = model.json(files.CONFIG)["eos_token_id"]
        return cls(
            Tokenizer.from_file(str(model.folder / files.TOKENIZER)),
            model.json(files.TOKENIZER_CONFIG),
            ends if isinstance(ends, list) else [ends],
        )

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; a special token that it spells out is read as that token."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def chat(self, turns: Iterable[Turn]) -> list[int]:
        """Return the ids of a conversation, up to where the assistant's next answer begins."""
        messages = [{"role": turn.role, "content": self.plain(turn.content)} for turn in turns]
        return self.encode(self._template.render(messages=messages, add_generation_prompt=True, **self._names))

    def plain(self, text: str) -> str:
        """Keep a text from being read as a control token, such as the end of the turn that it is in."""
        for special in self._special:
            text = text.replace(special, special[0] + _WORD_JOINER + special[1:])
        return text
