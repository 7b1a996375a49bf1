"""Pure: what a model's server says: server-sent events, the chunks of an answer in them, and errors.

Events are read as the HTML standard has them, section "Server-sent events", with lines that end in LF or CRLF.
Chunks have the form of the OpenAI API, of chats and of completions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from inference_worker.errors import (
    InferenceError,
    PromptTooLongError,
    RemoteBusyError,
    RemoteDeniedError,
    RemoteError,
    RemoteRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_EVENT: Final = 1024 * 1024
"""Bytes of one event, and of the beginning of the next."""
DONE: Final = b"[DONE]"
_TOO_LONG: Final = ("context_length_exceeded", "exceed_context_size_error", "maximum context length")


class Lines:
    """Bytes as they come in; the data of whole events out."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Take what came; yield the data of each event that is whole.

        Raises:
            RemoteError: an event is longer than any of an answer.
        """
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            bare = line.removesuffix(b"\r")
            if bare.startswith(b"data:"):
                self._data.append(bare[5:].removeprefix(b" "))
            elif not bare and self._data:
                yield b"\n".join(self._data)
                self._data = []
        if len(self._rest) + sum(map(len, self._data)) > LARGEST_EVENT:
            raise RemoteError(f"the model's server sent an event of more than {LARGEST_EVENT} bytes")


class CalledFunction(msgspec.Struct):
    """A part of a call: the name comes at once, the arguments bit by bit."""

    name: str | None = None
    arguments: str | None = None


class CallPart(msgspec.Struct):
    """A part of the call of this index."""

    index: int = 0
    function: CalledFunction = msgspec.field(default_factory=CalledFunction)


class Delta(msgspec.Struct):
    """What a chat's answer gained."""

    content: str | None = None
    tool_calls: list[CallPart] | None = None


class Choice(msgspec.Struct):
    """An answer; there is one."""

    delta: Delta = msgspec.field(default_factory=Delta)
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Any = None

    @property
    def said(self) -> str:
        """The text that it gained."""
        return self.text or self.delta.content or ""


class Counted(msgspec.Struct):
    """How many tokens went in and came out."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Chunk(msgspec.Struct):
    """The data of an event."""

    choices: list[Choice] = []
    usage: Counted | None = None
    error: Any = None


class _Likely(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Logprob(_Likely):
    top_logprobs: list[_Likely] = []


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


_chunk = msgspec.json.Decoder(Chunk)


def chunk(data: bytes) -> Chunk:
    """Read the data of an event.

    Raises:
        InferenceError: it tells an error, or is nothing of an answer.
    """
    try:
        read = _chunk.decode(data)
    except msgspec.DecodeError as error:
        raise RemoteError(f"the model's server sent what is no part of an answer: {error}") from None
    if read.error is not None:
        status = read.error.get("code") if isinstance(read.error, dict) else None
        raise refusal(status if isinstance(status, int) else 500, data)
    return read


def logprobs(choice: Choice) -> tuple[dict[str, Any], ...]:
    """Return an entry for each token that a choice brings, in the form of `logprobs.entry`.

    Raises:
        RemoteError: they have another form.
    """
    if choice.logprobs is None:
        return ()
    try:
        read = msgspec.convert(choice.logprobs, _Logprobs)
    except msgspec.ValidationError as error:
        raise RemoteError(f"the model's server sent log probabilities of another form: {error}") from None
    return tuple(msgspec.to_builtins(entry) for entry in read.content or ())


def refusal(status: int, body: bytes, retry_after: float | None = None) -> InferenceError:
    """Return what an answer that is none means.

    Args:
        status: of HTTP.
        body: what came with it.
        retry_after: seconds before which another try is of no use, if the server named any.
    """
    message = _message(body)
    if status in {401, 403}:
        return RemoteDeniedError()  # what it says may hold a part of the key
    if status == 429:
        return RemoteBusyError(retry_after=retry_after)
    if status in {408, 409, 425} or status >= 500:
        return RemoteError(f"the model's server failed with status {status}: {message}", retry_after=retry_after)
    if any(sign in message or sign.encode() in body for sign in _TOO_LONG):
        return PromptTooLongError(f"the model's server says: {message}", field="payload")
    return RemoteRefusedError(f"the model's server refused with status {status}: {message}")


def _message(body: bytes) -> str:
    """Return what a server says in one of the forms that are about."""
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return "it does not say why"
    error = said.get("error", said) if isinstance(said, dict) else said
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail")
    return str(error)[:500] if error else "it does not say why"
