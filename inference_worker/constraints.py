"""Answers that keep to a JSON Schema or an expression: which tokens may come next, by llguidance.

A constraint is compiled beside the engine, once for the same schema, and walked by each answer for itself. What a hostile
one may cost is bounded twice: in size by `options`, in work, at compilation and at each token, by the limits below.
Beyond them the request fails with an error of its own, and nobody else's answer waits.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
from llguidance import LLMatcher, LLParserLimits

from inference_worker.errors import ConstraintError
from inference_worker.options import JsonObject, JsonSchema, Regex

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt
    from llguidance._lib import JsonCompileOptions

    from inference_worker.options import Text
    from inference_worker.vocabulary import Vocabulary

# Measured with repetitions of repetitions, 2,000 properties and ambiguous grammars: no token takes over 70 ms, the
# longest compilation about a second; ordinary schemas take 0.02 ms a token and stay far below.
_LIMITS: Final = LLParserLimits(
    initial_lexer_fuel=200_000,
    step_lexer_fuel=20_000,
    step_max_items=10_000,
    max_lexer_states=20_000,
    max_grammar_size=50_000,
    verbose_errors=False,
)
# Whitespace without a bound is where a small model gets lost: a space, or a new line with its indent, as llama.cpp has it.
_JSON: Final[JsonCompileOptions] = {"whitespace_pattern": r" ?|\n[ \t]{0,20}", "lenient": False, "coerce_one_of": False}
_ANY_OBJECT: Final = {"type": "object"}
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_BIAS: Final = np.where(_BITS, np.float32(0), np.float32(-np.inf))
"""What the scores of eight tokens get for each byte of a mask: faster than to set those that are not allowed."""
_REMEMBERED: Final = 64
_LONGEST_REASON: Final = 300


class Constraint:
    """What one answer keeps to, as far as it has come."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def done(self) -> bool:
        """Whether the answer is whole and nothing may follow."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def apply(self, logits: npt.NDArray[np.float32]) -> None:
        """Make impossible what may not come next, in scores, `[vocabulary]`, in place.

        Raises:
            ConstraintError: to know it took more work than a token may.
        """
        mask = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        bias = _BIAS[mask].reshape(-1)
        known = min(len(bias), len(logits))
        logits[:known] += bias[:known]
        logits[known:] = -np.inf

    def take(self, token: int) -> None:
        """Add the next token of the answer.

        Raises:
            ConstraintError: it was none of those that may come, or took too much work.
        """
        self._matcher.consume_token(token)
        self._check()

    def fresh(self) -> Constraint:
        """Return the same for another answer, from where this one stands."""
        return Constraint(self._matcher.deep_copy())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintError(_reason(self._matcher), field="payload.response_format")


class Constraints:
    """Compiles constraints for one model, and remembers the latest; used from any thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._lock = Lock()
        self._known: OrderedDict[str, Constraint] = OrderedDict()

    def compile(self, wanted: Text | JsonObject | JsonSchema | Regex | None) -> Constraint | None:
        """Return what an answer keeps to; None if to nothing.

        Raises:
            ConstraintError: it is malformed, not supported, allows nothing, or would take too much work.
            UnsupportedOptionError: the model's tokenizer can't be constrained.
        """
        match wanted:
            case JsonObject():
                grammar, field = _json(_ANY_OBJECT), "type"
            case JsonSchema():
                grammar, field = _json(wanted.json_schema.document), "json_schema.schema"
            case Regex():
                grammar, field = LLMatcher.grammar_from_regex(wanted.regex), "regex"
            case _:
                return None
        with self._lock:
            if grammar in self._known:
                self._known.move_to_end(grammar)
                return self._known[grammar]
        matcher = LLMatcher(self._vocabulary.index, grammar, log_level=0, limits=_LIMITS)
        # The first mask is where the automaton is built: better here than in the engine's step.
        possible = not matcher.is_error() and any(matcher.compute_bitmask())
        if matcher.is_error() or not possible:
            raise ConstraintError(_reason(matcher), field=f"payload.response_format.{field}")
        constraint = Constraint(matcher)
        with self._lock:
            self._known[grammar] = constraint
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return constraint


def _json(schema: dict[str, Any]) -> str:
    try:
        return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_JSON)
    except ValueError as error:
        raise ConstraintError(
            str(error)[:_LONGEST_REASON], field="payload.response_format.json_schema.schema"
        ) from None


def _reason(matcher: LLMatcher) -> str:
    said = matcher.get_error().partition("\n<non-verbose")[0][:_LONGEST_REASON]
    return said or "no answer is possible"
