"""A small byte-level tokenizer whose tokens span letters, words and pieces of JSON, and one that ends an answer."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from inference_worker.vocabulary import Vocabulary

END = "<|end|>"
_LEARNT = (
    '{"name": "Anna", "age": 41, "tags": ["red", "blue"], "ok": true, "left": null} the secret of the badger is a '
    "secret word, and words are said: bad, badly, worse. [1, 2, 3] [10, 200] -0.5e10 false é ü 日本 "
)


@cache
def tokenizer() -> Tokenizer:
    """Return it; every byte is a token, and about a hundred longer pieces."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=[END], initial_alphabet=alphabet, show_progress=False, max_token_length=8
    )
    made.train_from_iterator([_LEARNT] * 5, trainer)
    return made


@cache
def vocabulary() -> Vocabulary:
    """Return what its tokens spell."""
    return Vocabulary(tokenizer(), [end()])


def end() -> int:
    """Return the id of the token that ends an answer."""
    return tokenizer().token_to_id(END)
