"""The errors of models and of the requests to them.

InferenceError
├── RequestError               a payload that can't be answered; names the field
│   ├── PromptTooLongError     the prompt leaves no room for an answer
│   ├── UnsupportedOptionError something that this model can't do
│   └── ConstraintError        a schema or expression that no answer can be kept to
├── ModelNotFoundError         no such model here
├── ModelDamagedError          files that are not what the manifest says
├── ConversionError            a source that could not be converted
├── NotComputedError           an architecture that a runner does not compute
├── CacheTooSmallError         a bound of the cache below what two sequences take
├── SupersededError            another worker claimed the request since
├── StepFailedError            the arithmetic itself
├── ModelChangedError          an answer was begun by another model
├── RemoteError                a model's server that failed, for now
│   ├── RemoteBusyError        it wants to be asked later
│   └── RemoteDeniedError      it does not take our key
├── RemoteRefusedError         a model's server that takes no such request
├── ResumeUnsupportedError     a model's server that can't go on with what was said
└── FilteredError              an answer that a model's server holds back
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


class UnsupportedOptionError(RequestError):
    """This model can't do what the request asks for."""

    code = "llm.unsupported"


class ConstraintError(RequestError):
    """An answer can't be kept to what the request asks for: it is malformed, too large, or leaves nothing to say."""

    code = "llm.constraint"


class ModelNotFoundError(InferenceError):
    """No such model is here."""

    code = "llm.model_not_found"


class ModelDamagedError(InferenceError):
    """A model's files are not what its manifest says."""

    code = "llm.model_damaged"


class ConversionError(InferenceError):
    """A model could not be converted."""

    code = "llm.conversion_failed"


class NotComputedError(InferenceError):
    """This runner does not compute such a model."""

    code = "llm.not_computed"


class CacheTooSmallError(InferenceError):
    """The cache may take fewer bytes than two sequences of full length."""

    code = "llm.cache_too_small"


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


class RemoteError(InferenceError):
    """The model's server failed, or can't be reached."""

    code = "llm.remote_failed"
    retryable = True


class RemoteBusyError(RemoteError):
    """The model's server has too much to do."""

    code = "llm.remote_busy"


class RemoteDeniedError(RemoteError):
    """The model's server does not take this worker's key: its operator sets BARNABAS_REMOTE_API_KEY."""

    code = "llm.remote_denied"


class RemoteRefusedError(InferenceError):
    """The model's server takes no such request."""

    code = "llm.remote_refused"


class ResumeUnsupportedError(InferenceError):
    """The answer broke off, and the model's server can't go on with it: submit it again, or see BARNABAS_REMOTE_RESUME."""

    code = "llm.resume_unsupported"


class FilteredError(InferenceError):
    """The model's server held the answer back for its content."""

    code = "llm.filtered"
