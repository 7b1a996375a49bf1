"""`python -m benchmarks mail`: reading and labelling mails on one core, beside the libraries that people would take.

Labelling is what `mail.classify` does between its payload and its result: the mail is parsed, encoded, labelled, and the
labels explained. The peer parses with the standard library and makes the vector of the same text by the same encoder in
transformers on torch; it labels nothing.
"""

from __future__ import annotations

import email
import email.policy
import time
from base64 import encodebytes
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from backbone.settings import Settings
from benchmarks.measure import percentile, spread
from benchmarks.plot import Curve, curves
from benchmarks.report import Report, Row, row, say
from streams.mail.classifier import Classifier
from streams.mail.model import TOKEN_BUDGET
from streams.mail.parse import parse
from streams.mail.reading import passage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Work = Callable[[Sequence[bytes]], None]

MAILS = Path(__file__).parents[1] / "tests" / "data" / "mails"
LEAST_A_SECOND, MOST_MS = 25, 120
_BATCH = 32
_TORCH = "email, transformers on torch"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        mails: that are labelled, of those in tests/data.
        rounds: of each side.
        seconds: of CPU a round.
        singles: mails a round that are classified alone.
    """

    mails: int
    rounds: int
    seconds: float
    singles: int


FULL = Size(mails=160, rounds=5, seconds=5.0, singles=200)
QUICK = Size(mails=16, rounds=2, seconds=0.3, singles=5)


class Pair(NamedTuple):
    """The same work on both sides.

    Attributes:
        what: is done.
        mails: with these.
        ours: does it.
        peer: likewise.
        peer_name: by these libraries.
        at_least: mails a CPU-second that are the goal.
    """

    what: str
    mails: Sequence[bytes]
    ours: Work
    peer: Work
    peer_name: str
    at_least: float | None = None


def measure(*, quick: bool, plot: Path | None) -> Report:
    """Return the report; draw how long single mails took into `plot` if it is named."""
    size = QUICK if quick else FULL
    mails = [path.read_bytes() for path in sorted(MAILS.glob("*.eml"))][: size.mails]
    long, large = _long(), _large()
    say("loading the encoder, twice")
    classifier, peer = Classifier.load(Settings().models_path), _Peer()

    def labelled(raw: Sequence[bytes]) -> None:
        classifier.classify([parse(each) for each in raw])

    varied, full = f"the {len(mails)} mails of tests/data", f"mails of {TOKEN_BUDGET} tokens or more"
    rows = [
        _rates(pair, size)
        for pair in (
            Pair(f"parse, {varied}, a CPU-second", mails, _parsed, _parsed_by_email, "email"),
            Pair("parse, a mail of 20 MB, a CPU-second", [large], _parsed, _parsed_by_email, "email"),
            Pair(f"label, {varied}, a CPU-second", mails, labelled, peer.vectors, _TORCH, LEAST_A_SECOND),
            Pair(f"label, {full}, a CPU-second", [long] * _BATCH, labelled, peer.vectors, _TORCH, LEAST_A_SECOND),
        )
    ]
    say("one mail at a time")
    ours, theirs = [], []
    for _ in range(size.rounds):
        ours.append(_milliseconds(labelled, long, size.singles))
        theirs.append(_milliseconds(peer.vectors, long, size.singles))
    rows += [_single(full, ours, theirs, percent) for percent in (50, 99)]
    if plot is not None:
        _draw(ours, theirs, plot)
    return Report("mail", rows)


class _Peer:
    """The encoder as its users run it: in batches on torch, in one thread."""

    def __init__(self) -> None:
        import torch  # noqa: PLC0415 - a second that no other benchmark should pay
        from transformers import AutoTokenizer, BertModel, logging  # noqa: PLC0415

        from streams.mail.export import wheel_folder  # noqa: PLC0415

        torch.set_num_threads(1)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(wheel_folder())
        self._model: Any = BertModel.from_pretrained(wheel_folder(), add_pooling_layer=False).eval()

    def vectors(self, raw: Sequence[bytes]) -> None:
        """Parse mails, and make the vectors of their texts."""
        texts = [_text(each) for each in raw]
        for start in range(0, len(texts), _BATCH):
            inputs = self._tokenizer(
                texts[start : start + _BATCH],
                padding=True,
                truncation=True,
                max_length=TOKEN_BUDGET,
                return_tensors="pt",
            )
            with self._torch.no_grad():
                hidden = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1)
            self._torch.nn.functional.normalize((hidden * mask).sum(1), dim=1)


def _parsed(raw: Sequence[bytes]) -> None:
    for each in raw:
        parse(each)


def _parsed_by_email(raw: Sequence[bytes]) -> None:
    for each in raw:
        _text(each)


def _text(raw: bytes) -> str:
    """Return subject and text, as the standard library reads them; of HTML it keeps the tags."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    try:
        text = body.get_content() if body is not None else ""
        for part in message.iter_attachments():
            part.get_content()
    except (LookupError, ValueError, AttributeError, TypeError):
        text = ""  # a charset that it does not know, a structure that it can't walk
    return f"{message['subject']}. {text}"


def _long() -> bytes:
    """Return a mail that is longer than what the encoder reads."""
    text = " ".join(
        f"Paragraph {n}: the committee met again, and nothing that it had to decide was decided." for n in range(60)
    )
    raw = f"From: Lea <lea@example.com>\r\nTo: nadia@example.com\r\nSubject: Minutes\r\n\r\n{text}\r\n".encode()
    assert len(passage(parse(raw)).split()) > TOKEN_BUDGET
    return raw


def _large() -> bytes:
    """Return a mail with a large file."""
    head = (
        "From: Lea <lea@example.com>\r\nSubject: Scans\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nSee the file.\r\n'
        "--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n"
        'Content-Disposition: attachment; filename="scan.png"\r\n\r\n'
    )
    return head.encode() + encodebytes(bytes(range(256)) * 58_000).replace(b"\n", b"\r\n") + b"--b--\r\n"


def _rates(pair: Pair, size: Size) -> Row:
    say(pair.what)
    both = (pair.ours, pair.peer)
    for work in both:
        work(pair.mails[:1])  # the first ones pay for what is loaded late
    rounds = [[_rate(work, pair.mails, size.seconds) for work in both] for _ in range(size.rounds)]
    ours, peer = zip(*rounds, strict=True)
    return row(
        pair.what,
        median(ours),
        median(peer),
        peer_name=pair.peer_name,
        spreads=(spread(ours), spread(peer)),
        at_least=pair.at_least,
        goal=None if pair.at_least is None else f"at least {pair.at_least}",
    )


def _rate(work: Work, mails: Sequence[bytes], seconds: float) -> float:
    """Return how many mails a CPU-second does, over at least so many seconds of CPU."""
    count, began = 0, time.process_time()
    while (used := time.process_time() - began) < seconds:
        work(mails)
        count += len(mails)
    return count / used


def _milliseconds(work: Work, raw: bytes, times: int) -> list[float]:
    """Return how long each of so many calls took."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work([raw])
        took.append((time.perf_counter() - began) * 1000)
    return took


def _single(what: str, ours: Sequence[list[float]], peer: Sequence[list[float]], percent: int) -> Row:
    mine, theirs = ([percentile(each, percent) for each in side] for side in (ours, peer))
    return row(
        f"label one, {what}, p{percent}, ms",
        median(mine),
        median(theirs),
        peer_name=_TORCH,
        spreads=(spread(mine), spread(theirs)),
        at_most=MOST_MS,
        goal=f"at most {MOST_MS}",
    )


def _draw(ours: Sequence[list[float]], peer: Sequence[list[float]], plot: Path) -> None:
    lines = []
    for name, colour, rounds in (("Barnabas", "#1b6ca8", ours), (_TORCH, "#d35d6e", peer)):
        every = [each for taken in rounds for each in taken]
        lines.append(Curve(name, [(percentile(every, p), p / 100) for p in range(1, 101)], colour))
    plot.write_text(curves(lines, title="Share of mails that took at most so many ms, one at a time"))
