"""The operator's policy file: which labels and senders go to which tier with which chain. The first rule that fits counts.

    [[rule]]
    name = "my manager, urgently"
    from = ["ines@example.com"]
    authenticated = "mx.example.com"
    urgency = "high"
    tier = "urgent"
    then = [{ kind = "llm.chat", payload = { prompt = "Sum this up: {{ result.text }}" } }]

It is read once, as a process starts, and one that does not make sense keeps it from starting: found out by a mail, it
would be found out too late.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    ValidationError,
    model_validator,
)

from backbone import chain
from backbone.errors import StepError
from schemas.tiers import Tier
from streams.errors import PolicyError
from streams.handlers.port import Then
from streams.mail.authentication import is_authentic

if TYPE_CHECKING:
    from pathlib import Path

    from streams.mail.message import Mail

MAX_RULES = 500
MAX_THEN = 8
MAX_PAYLOAD = 64 * 1024
"""Bytes of a step's payload: those of a rule fit in a record beside what else it carries."""
CLASSIFY = "mail.classify"


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


_Text = Annotated[str, Field(min_length=1, max_length=200)]
_OneOrMore = BeforeValidator(_listed)
_Sender = Annotated[str, Field(pattern=r"^[^\s@]*@[^\s@]+$", max_length=320)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class PolicyStep(_Strict):
    """A step of a rule's chain."""

    kind: _Text
    payload: dict[str, Any] = {}
    tier: Annotated[Tier, Field(strict=False)] | None = None


class Rule(_Strict):
    """When all that it names fits a mail, its chain follows the mail's task. What it does not name fits any mail.

    Attributes:
        name: by which the mail's result tells of it.
        owner: whose mails it is for.
        from_: addresses, or all of a domain as `@example.com`; written `from`. Case does not count.
        authenticated: the name of the mail server that must vouch for the sender; without, anybody can write that
            `From`.
        category: the likeliest one is one of these.
        urgency: is one of these.
        spam: whether it is called spam, or a probability that spam must have at least.
        tier: of those steps that name none; by default the tier of the mail's task.
        then: the chain; with none, the rule only keeps the later ones from the mail.
    """

    name: _Text
    owner: Annotated[tuple[_Text, ...], _OneOrMore, Field(strict=False)] = ()
    from_: Annotated[tuple[_Sender, ...], _OneOrMore, Field(alias="from", strict=False)] = ()
    authenticated: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=253)] | None = None
    category: Annotated[tuple[_Text, ...], _OneOrMore, Field(strict=False)] = ()
    urgency: Annotated[tuple[Literal["low", "normal", "high"], ...], _OneOrMore, Field(strict=False)] = ()
    spam: StrictBool | Annotated[StrictFloat, Field(gt=0, lt=1)] | None = None
    tier: Annotated[Tier, Field(strict=False)] | None = None
    then: Annotated[tuple[PolicyStep, ...], Field(max_length=MAX_THEN, strict=False)] = ()

    @model_validator(mode="after")
    def _a_tier_is_a_steps(self) -> Self:
        if self.tier is not None and not self.then:
            raise ValueError("`tier` says where the steps run: give `then`")
        return self

    @property
    def steps(self) -> tuple[Then, ...]:
        """The chain, each step with its tier."""
        return tuple(Then(step.kind, step.payload, step.tier or self.tier) for step in self.then)


@dataclass(frozen=True, slots=True)
class Labels:
    """What rules look at of what a mail was called.

    Attributes:
        category: the likeliest one.
        urgency: `low`, `normal` or `high`.
        spam: its probability.
        is_spam: whether it is called spam.
    """

    category: str
    urgency: str
    spam: float
    is_spam: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules, in the order of the file."""

    rules: tuple[Rule, ...] = ()

    def route(self, mail: Mail, labels: Labels, owner: str) -> Rule | None:
        """Return the first rule that fits a mail of this owner's, None where none does."""
        return next((rule for rule in self.rules if _fits(rule, mail, labels, owner)), None)

    @classmethod
    def read(cls, file: Path, result: bytes) -> Policy:
        """Return the policy that a file tells.

        Args:
            file: TOML.
            result: a mail's result that holds just what every mail's does, as JSON: what look-ups find in it, they
                always find.

        Raises:
            PolicyError: it can't be read, or says what can't be done; the message names file, rule and field.
        """
        try:
            told = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PolicyError(f"{file}: {error}") from None
        if set(told) - {"rule"} or not isinstance(told.get("rule", []), list):
            raise PolicyError(f"{file}: it holds rules, each under [[rule]], and nothing else")
        rules = told.get("rule", [])
        if len(rules) > MAX_RULES:
            raise PolicyError(f"{file}: at most {MAX_RULES} rules")
        made = tuple(_rule(file, number, rule) for number, rule in enumerate(rules, 1))
        names: set[str] = set()
        for number, rule in enumerate(made, 1):
            where = f"{file}, rule {number} ({rule.name})"
            if rule.name in names:
                raise PolicyError(f"{where}: name: another rule has it")
            names.add(rule.name)
            _check_steps(rule, result, where)
        return cls(made)


def _fits(rule: Rule, mail: Mail, labels: Labels, owner: str) -> bool:
    spam = labels.is_spam is rule.spam if isinstance(rule.spam, bool) else labels.spam >= (rule.spam or 0)
    return (
        (not rule.owner or owner in rule.owner)
        and (not rule.category or labels.category in rule.category)
        and (not rule.urgency or labels.urgency in rule.urgency)
        and spam
        and (not rule.from_ or _is_from(mail, rule.from_))
        and (rule.authenticated is None or is_authentic(mail, rule.authenticated))
    )


def _is_from(mail: Mail, senders: tuple[str, ...]) -> bool:
    """Whether each address in `From` is one of these: a stranger does not get in beside one that is."""
    wanted = {sender.lower() for sender in senders}
    return bool(mail.senders) and all(
        sender.address.lower() in wanted or f"@{sender.domain}" in wanted for sender in mail.senders
    )


def _rule(file: Path, number: int, told: Any) -> Rule:
    try:
        return Rule.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        named = told.get("name") if isinstance(told, dict) else None
        field = "".join(f"{part}: " for part in [".".join(map(str, first["loc"]))] if part)
        message = first["msg"].removeprefix("Value error, ")
        raise PolicyError(f"{file}, rule {number} ({named or 'it has no name'}): {field}{message}") from None


def _check_steps(rule: Rule, result: bytes, where: str) -> None:
    for place, step in enumerate(rule.then):
        field = f"{where}: then.{place}"
        if step.kind == CLASSIFY:
            raise PolicyError(f"{field}.kind: {CLASSIFY} would ask this policy again, and go round")
        try:
            payload = msgspec.json.encode(step.payload)
            chain.check(payload, "payload", kind=step.kind)
            if place == 0:  # the results of later ones are other kinds'
                chain.fill(payload, result, MAX_PAYLOAD, kind=step.kind)
        except StepError as error:
            raise PolicyError(f"{field}.{error.field}: {error.message}") from None
        if len(payload) > MAX_PAYLOAD:
            raise PolicyError(f"{field}.payload: {len(payload)} bytes; at most {MAX_PAYLOAD}")
