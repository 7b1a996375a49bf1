"""The errors of models and of the requests to them.

InferenceError
├── RequestError               a payload that can't be answered; names the field
│   └── PromptTooLongError     the prompt leaves no room for an answer
├── ModelNotFoundError         no such model here
├── ModelDamagedError          files that are not what the manifest says
├── ConversionError            a source that could not be converted
├── SupersededError            another worker claimed the request since
├── StepFailedError            the arithmetic itself
└── ModelChangedError          an answer was begun by another model
"""

from __future__ import annotations

from schemas.errors import BarnabasError


class InferenceError(BarnabasError):
    """The model failed."""

    code = "llm.failed"


class RequestError(InferenceError):
    """The request does not fit its kind."""

    code = "payload.invalid"


class PromptTooLongError(RequestError):
    """The prompt leaves no room for an answer."""

    code = "llm.prompt_too_long"


class ModelNotFoundError(InferenceError):
    """No such model is here."""

    code = "llm.model_not_found"


class ModelDamagedError(InferenceError):
    """A model's files are not what its manifest says."""

    code = "llm.model_damaged"


class ConversionError(InferenceError):
    """A model could not be converted."""

    code = "llm.conversion_failed"


class ModelChangedError(InferenceError):
    """The answer was begun by another model or weight format than the one that runs here."""

    code = "llm.model_changed"


class StepFailedError(InferenceError):
    """The model's steps failed, each time that they were tried."""

    code = "llm.step_failed"


class SupersededError(InferenceError):
    """Another worker has claimed the request since."""

    code = "llm.superseded"
    retryable = True
