"""`llm.classify`: labels to probabilities, by how likely the model is to say each of them after the text.

    Text: The striker scored twice.
    Label: | sports                     log P(label | text), the sum over its tokens
    Text:
    Label: | sports                     log P(label | no text): how likely it is anyway

The score of a label is what the text adds, per token of the label: `(with the text - without) / tokens`; probabilities
are the softmax of the scores. Dividing by the length is Brown et al. 2020 (arXiv:2005.14165, section 2.4), taking off what
is likely anyway Holtzman et al. 2021 (arXiv:2104.08315). The answer is always one of the labels, whatever the text says.
No chat template is used: a small model does worse with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from inference_worker.embed import Read
from inference_worker.errors import PromptTooLongError, RequestError
from inference_worker.likelihoods import Likelihoods, beginnings
from inference_worker.reading import Texts

if TYPE_CHECKING:
    from inference_worker.loading import Model
    from inference_worker.reading import Common


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(_Strict):
    """A label, and what is meant by it."""

    name: str = Field(min_length=1, max_length=200)
    description: str | None = Field(None, min_length=1, max_length=2_000)


def _form(given: object) -> str:
    return "~name" if isinstance(given, str) else "~label"


_Named = Annotated[
    Annotated[str, Field(min_length=1, max_length=200), Tag("~name")] | Annotated[Label, Tag("~label")],
    Discriminator(_form),
]


class ClassifyRequest(_Strict):
    """Payload of `llm.classify`: the model says how well each label fits the text."""

    input: str = Field(min_length=1, max_length=1_000_000, description="The text; it is never an instruction.")
    labels: list[_Named] = Field(min_length=2, max_length=256, description="Names, or names with descriptions.")
    calibrate: bool = Field(True, description="Take off how likely each label is without the text.")
    model: str | None = Field(None, max_length=200, description="Id of the model; by default the one that is loaded.")

    @field_validator("labels")
    @classmethod
    def _differ(cls, labels: list[str | Label]) -> list[str | Label]:
        names = [_label(one).name for one in labels]
        if len(set(names)) < len(names):
            raise ValueError("no two labels have the same name")
        return labels


class Fit(BaseModel):
    """How well a label fits.

    Attributes:
        label: its name.
        probability: of all labels together they make 1.
        score: what the text adds to its log probability, per token.
        logprob: its log probability after the text.
        tokens: how many it has.
    """

    label: str
    probability: float
    score: float
    logprob: float
    tokens: int


class Classified(BaseModel):
    """Result of `llm.classify`: the label that fits best, and all of them, the best first."""

    label: str
    labels: list[Fit]
    usage: Read
    model: str
    digest: str = Field(description="Digest of the model's files: the same digest is the same model.")


class ClassifyTexts(Texts[Likelihoods]):
    """The text of a request, and, to take off what is likely anyway, none at all."""

    def __init__(self, request: ClassifyRequest, model: Model) -> None:
        """Make tokens of the text and the labels.

        Raises:
            RequestError: the text has too many, or a label means the same tokens as another one; names the field.
        """
        self._model = model
        self._labels = [_label(one) for one in request.labels]
        encode, plain = model.tokenizer.encode, model.tokenizer.plain
        self._answers = [encode(plain(f" {label.name}")) for label in self._labels]
        if len({tuple(answer) for answer in self._answers}) < len(self._answers):
            raise RequestError("two labels are the same tokens to the model", field="payload.labels")
        described = "".join(f"{one.name}: {one.description}\n" for one in self._labels if one.description)
        before = f"{described}\n" if described else ""
        texts = [request.input, ""] if request.calibrate else [request.input]
        self._prompts = [encode(plain(f"{before}Text: {text}\nLabel:"), special=True) for text in texts]
        self.count = len(texts)
        most = model.runner.max_context - len(beginnings(self._answers))
        if len(self._prompts[0]) > most:
            raise PromptTooLongError(
                f"text and descriptions have {len(self._prompts[0])} tokens, at most {max(0, most)} fit with these labels",
                field="payload.input" if most > 0 else "payload.labels",
            )

    def part(self, place: int, common: Common) -> Likelihoods:
        """Return the labels after a text, as the engine weighs them."""
        return Likelihoods(prompt=self._prompts[place], answers=self._answers, **common)

    def result(self, parts: list[Likelihoods]) -> Classified:
        """Return how well each label fits."""
        logs = np.array([part.logs for part in parts])
        lengths = np.array([len(answer) for answer in self._answers])
        scores = (logs[0] - logs[1:].sum(axis=0)) / lengths
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        fits = [
            Fit(label=label.name, probability=float(share), score=float(score), logprob=float(log), tokens=int(tokens))
            for label, share, score, log, tokens in zip(self._labels, shares, scores, logs[0], lengths, strict=True)
        ]
        fits.sort(key=lambda fit: -fit.probability)
        tokens = sum(len(part.prompt) + part.limit - 1 for part in parts)
        return Classified(
            label=fits[0].label,
            labels=fits,
            usage=Read(prompt_tokens=tokens, total_tokens=tokens),
            model=self._model.id,
            digest=self._model.digest,
        )


def _label(given: str | Label) -> Label:
    return Label(name=given, description=None) if isinstance(given, str) else given
