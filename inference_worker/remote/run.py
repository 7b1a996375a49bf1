"""Pure: one answer as a model's server says it: what came, what that gives the log of tokens, and how it ended.

The server's token ids are not known. Each piece of text is counted as one token, or, where log probabilities come
with it, as the tokens that they name; all have the id 0. So indexes go on without a hole, which is what readers hold to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from inference_worker.errors import FilteredError, RemoteError, RemoteRefusedError
from inference_worker.remote import events
from inference_worker.scheduled import Output
from schemas.records import FinishReason, Usage

if TYPE_CHECKING:
    from inference_worker.errors import InferenceError
    from inference_worker.remote.events import CalledFunction, Choice, Chunk
    from inference_worker.requests import Request

UNKNOWN: Final = 0
"""Id of each token."""
LARGEST_ANSWER: Final = 512 * 1024
"""Characters of an answer: with all else that an outcome holds it must fit where outcomes are kept."""
_FINISHES: Final = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "tool_calls": FinishReason.STOP,
    "function_call": FinishReason.STOP,
    "length": FinishReason.LENGTH,
}


@dataclass(slots=True)
class RemoteRun:
    """An answer, or what is left of it.

    Attributes:
        id: of this run.
        request: what is wanted.
        seed: of the draws.
        owner: whose it is.
        rank: of its tier, 0 goes first.
        deadline: when it must have ended, ms since the epoch.
        start_by: when it must have begun, None if it has.
        said: the answer's text so far.
        pieces: how many tokens it counts.
        number: orders those that wait by when they came.
        started: whether it had its turn.
        ended: why it ended, if it did.
        failure: why nothing can follow, where it ended for that.
    """

    id: str
    request: Request
    seed: int
    owner: str
    rank: int
    deadline: int
    start_by: int | None
    said: str
    pieces: int
    number: int = 0
    started: bool = False
    ended: FinishReason | None = None
    failure: InferenceError | None = None
    _again: str = ""
    _before: int = 0
    _calls: dict[int, CalledFunction] = field(default_factory=dict)
    _finish: FinishReason | None = None
    _usage: Usage | None = None

    @property
    def alarm(self) -> int:
        """When it may run no further, unless it ends or, not begun yet, begins before: ms since the epoch."""
        return self.deadline if self.start_by is None else min(self.deadline, self.start_by)

    @property
    def whole(self) -> bool:
        """Whether the server said why the answer ends."""
        return self._finish is not None

    @property
    def full(self) -> bool:
        """Whether the answer has all tokens that it may have."""
        return self.pieces >= self.request.max_tokens

    def ask_again(self, again: str) -> None:
        """Note that the server is asked for what is left, and that it will begin with these blanks, which were said."""
        # As a rule they are one token, which this ask brings anew.
        self._again, self._before = again, self.pieces - (1 if again else 0)
        self._calls.clear()

    def take(self, chunk: Chunk) -> Output | None:
        """Take what the server sent; return what is to be said of it.

        Raises:
            InferenceError: it is no answer, or the server holds it back.
        """
        if chunk.usage is not None:
            # The tokens that an earlier ask brought were a part of this one's prompt.
            before = self._before
            prompt = max(0, chunk.usage.prompt_tokens - before)
            self._usage = Usage(prompt_tokens=prompt, completion_tokens=before + chunk.usage.completion_tokens)
        output = None
        for choice in chunk.choices[:1]:
            output = self._say(choice)
            for part in choice.delta.tool_calls or ():
                self._call(part.index, part.function)
            if choice.finish_reason:
                self._finish = self._meaning(choice.finish_reason)
        return output

    def end(self, reason: FinishReason) -> Output:
        """End the answer where it stands."""
        self.ended = reason
        return Output(self.id, self.pieces, finish=reason, usage=self._usage)

    def close(self) -> Output:
        """End an answer that is whole; calls of tools come with its end, in the form in which models write them."""
        reason = self._finish or FinishReason.LENGTH
        end = self.end(reason)
        calls = "".join(map(_written, self._calls.values())) if reason is FinishReason.STOP else ""
        return replace(end, tail=calls)

    def fail(self, failure: InferenceError) -> Output:
        """End the answer because nothing can follow."""
        self.failure = failure
        return self.end(FinishReason.ERROR)

    def _say(self, choice: Choice) -> Output | None:
        text = self._new(choice.said)
        entries = events.logprobs(choice) if self.request.logprobs else ()
        if not text and not entries:
            return None
        if self.full:
            self._finish = FinishReason.LENGTH  # it does not keep to the limit
            return None
        if len(self.said) + len(text) > LARGEST_ANSWER:
            raise RemoteRefusedError(f"the model's server said more than {LARGEST_ANSWER} characters")
        index, tokens = self.pieces, max(1, len(entries))
        self.pieces += tokens
        self.said += text
        return Output(self.id, index, (UNKNOWN,) * tokens, text, logprobs=entries)

    def _new(self, text: str) -> str:
        """Return what was not said before."""
        while text and self._again:
            if text[0] != self._again[0]:
                self._again = ""
            else:
                text, self._again = text[1:], self._again[1:]
        return text

    def _call(self, index: int, part: CalledFunction) -> None:
        call = self._calls.setdefault(index, events.CalledFunction("", ""))
        call.name = (call.name or "") + (part.name or "")
        call.arguments = (call.arguments or "") + (part.arguments or "")
        if len(self._calls) > 128 or len(call.arguments) > LARGEST_ANSWER:
            raise RemoteRefusedError("the model's server calls more than any request may")

    def _meaning(self, reason: str) -> FinishReason:
        if reason == "content_filter":
            raise FilteredError
        if reason not in _FINISHES:
            raise RemoteError(f"the model's server ended the answer for {reason[:100]!r}")
        return _FINISHES[reason]


def _written(call: CalledFunction) -> str:
    try:
        arguments: Any = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = call.arguments
    return f"<tool_call>{json.dumps({'name': call.name, 'arguments': arguments}, ensure_ascii=False)}</tool_call>"
