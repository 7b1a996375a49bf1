from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.mail.clusters import SIMILAR, clusters, held_out

WORDS = [
    f"{first}{second}" for first in "bdfgklmnprst" for second in ("an", "el", "ip", "or", "ut", "ash", "ing", "ow")
]
SUBJECTS = ("", "Re: ", "Re: Re[2]: ", "[list] ", "Fwd: [list 2] ", "AW: ")


def text(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def edited(original: str, seed: int, changes: int) -> str:
    draw, words = random.Random(seed), original.split()
    for _ in range(changes):
        words[draw.randrange(len(words))] = draw.choice(WORDS)
    return " ".join(words)


def similarity(one: str, other: str) -> float:
    """The Jaccard index, by sets of four words."""
    first, second = (
        {tuple(words[at : at + 4]) for at in range(len(words) - 3)} for words in (one.split(), other.split())
    )
    return len(first & second) / len(first | second)


def components(texts: list[str], least: float) -> list[int]:
    """Each text's first relative over pairs of at least that similarity, by trying all pairs."""
    of = list(range(len(texts)))
    for one in range(len(texts)):
        for other in range(one):
            if similarity(texts[one], texts[other]) >= least:
                old, new = max(of[one], of[other]), min(of[one], of[other])
                of = [new if each == old else each for each in of]
    return of


def test_near_duplicates_are_one_cluster_whatever_their_subjects():
    first = text(1)
    mails = [("win now", first), ("lunch", text(2)), ("you won 100", edited(first, 3, 2)), ("", text(4))]
    assert clusters(mails).tolist() == [0, 1, 0, 3]


def test_case_numbers_and_layout_make_no_other_text():
    first = text(1)
    shouted = first.upper().replace(" ", " \n  ", 9) + " 12345 !!!"
    assert clusters([("a", first), ("b", shouted)]).tolist() == [0, 0]


def test_what_is_chained_is_one_cluster_though_its_ends_are_far():
    chain = [text(1)]
    for step in range(8):
        chain.append(edited(chain[-1], step, 2))
    assert similarity(chain[0], chain[-1]) < SIMILAR
    assert set(clusters([("", each) for each in chain])) == {0}


def test_a_thread_is_one_cluster_whatever_its_texts():
    mails = [(f"{prefix}Kernel panic on boot", text(seed)) for seed, prefix in enumerate(SUBJECTS)]
    assert set(clusters(mails)) == {0}
    assert clusters([("Re: ", text(1)), ("[list]", text(2)), ("123!", text(3))]).tolist() == [0, 1, 2]


def test_two_clusters_that_a_later_mail_links_are_one():
    assert clusters([("one", text(1)), ("two", text(2)), ("two", text(1))]).tolist() == [0, 0, 0]


@pytest.mark.slow
def test_it_finds_what_trying_all_pairs_finds():
    draw = random.Random(5)
    texts = [text(seed) for seed in range(30)]
    texts += [edited(draw.choice(texts), seed, draw.randrange(1, 14)) for seed in range(90)]
    found = clusters([("", each) for each in texts])
    surely, at_most = components(texts, 0.6), components(texts, SIMILAR)
    assert len(set(surely)) < len(texts)
    for one in range(len(texts)):
        for other in range(one):
            if surely[one] == surely[other]:
                assert found[one] == found[other]
            if found[one] == found[other]:
                assert at_most[one] == at_most[other]


MAILS = st.lists(
    st.tuples(
        st.builds(str.__add__, st.sampled_from(SUBJECTS), st.sampled_from(["", "Lunch", "Win a prize", "Patch 7"])),
        st.builds(edited, st.integers(0, 3).map(text), st.integers(0, 2), st.integers(0, 30)) | st.just(""),
    ),
    min_size=1,
    max_size=25,
)


@given(MAILS, st.floats(0, 1), st.integers(0, 9))
def test_no_cluster_is_split(mails, share, seed):
    found = clusters(mails)
    out = held_out(found, [f"group/{number}" for number in range(len(mails))], share, seed)
    firsts: dict[object, int] = {}
    for index, (subject, body) in enumerate(mails):
        assert found[found[index]] == found[index] <= index
        assert out[index] == out[found[index]]
        thread = subject.replace("Re[2]:", "").replace("[list 2]", "").replace("[list]", "")
        for shared in (thread.rpartition(":")[2].strip(" 7"), ("text", body) if body else ""):
            if shared:
                assert found[firsts.setdefault(shared, index)] == found[index]


@given(st.lists(st.integers(0, 400), unique=True, min_size=1, max_size=40), st.data())
def test_what_is_added_moves_no_other_mail(seeds, data):
    def sides(some: list[int]) -> dict[str, bool]:
        names = [f"group/{seed}" for seed in some]
        found = clusters([("", text(seed, 20)) for seed in some])
        return dict(zip(names, held_out(found, names, 0.3, 7).tolist(), strict=True))

    before = data.draw(st.lists(st.sampled_from(seeds), unique=True))
    after = sides(sorted(seeds))
    assert all(after[name] == side for name, side in sides(sorted(before)).items())


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_about_the_share_is_held_out_and_the_seed_says_which(share):
    singles = np.arange(4000)
    names = [f"group/{number}" for number in singles]
    out, again, other = (held_out(singles, names, share, seed) for seed in (1, 1, 2))
    assert out.mean() == pytest.approx(share, abs=0.03)
    assert (out == again).all()
    assert (out == other).all() == (share in {0.0, 1.0})


def test_nothing_has_no_clusters():
    assert clusters([]).tolist() == []
