"""Pure: the log probability of a token that was chosen, and of those that were likeliest, as the OpenAI API has them.

They are the model's own: of the scores before penalties, temperature and constraints, as vLLM's `raw_logprobs` are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from inference_worker.sampling import largest

if TYPE_CHECKING:
    import numpy.typing as npt

    from inference_worker.vocabulary import Vocabulary


def entry(logits: npt.NDArray[np.float32], token: int, top: int | None, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a token's entry.

    Args:
        logits: the model's scores, `[vocabulary]`.
        token: id of the one that was chosen.
        top: how many of the likeliest are to stand beside it, the likeliest first.
        vocabulary: the bytes of each token.
    """
    best = float(logits.max())
    total = best + float(np.log(np.exp(logits - np.float32(best)).sum()))
    likeliest = largest(logits, top) if top else np.empty(0, dtype=np.intp)
    likeliest = likeliest[np.argsort(-logits[likeliest], kind="stable")]

    def one(each: int) -> dict[str, Any]:
        said = vocabulary.bytes_of(each)
        return {
            "token": said.decode(errors="replace"),
            "logprob": float(logits[each]) - total,
            "bytes": list(said),
        }

    return {**one(token), "top_logprobs": [one(int(each)) for each in likeliest]}
