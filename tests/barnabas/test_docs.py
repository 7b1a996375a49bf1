from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from barnabas.topics import cleanup_of
from schemas import topics
from schemas.errors import BarnabasError
from tests.barnabas.tools import command_of, options

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_table_of_topics_is_that_of_the_code() -> None:
    page = (ROOT / "docs/contract.md").read_text()
    told = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| (\w+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert told == [(topic.name, topic.key, topic.record.__name__, cleanup_of(topic)) for topic in topics.ALL]


def test_each_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} names {target}"


def test_each_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets, page.name


def test_each_setting_that_a_page_names_exists() -> None:
    from backbone.settings import Settings, TierPolicy, TierTable

    known = {f"BARNABAS_{name.upper()}" for name in Settings.model_fields} | {"BARNABAS_URL", "BARNABAS_API_KEY"}
    known |= {f"BARNABAS_TIERS__{t}__{c}".upper() for t in TierTable.model_fields for c in TierPolicy.model_fields}
    for page in PAGES:
        named = set(re.findall(r"\bBARNABAS_[A-Z_]+[A-Z]", page.read_text()))
        assert named <= known, page.name


def test_each_command_and_option_that_a_page_names_exists() -> None:
    known = options()
    for page in PAGES:
        code = "\n".join(blocks(page.read_text(), "sh") + re.findall(r"`(barnabas [^`]+)`", page.read_text()))
        for typed in re.findall(r"^barnabas ([a-z].*)$", code, re.MULTILINE):
            name = command_of(typed)
            assert name in known, page.name
            assert set(re.findall(r"\s(--?[a-z-]+)", typed)) - {"-"} <= known[name], f"{page.name}: {name}"


def test_the_frames_that_the_page_shows_are_json() -> None:
    decoder = json.JSONDecoder()
    for text in blocks((ROOT / "docs/protocol.md").read_text(), "json"):
        rest = text.strip()
        while rest:
            frame, end = decoder.raw_decode(rest)
            assert "type" in frame
            rest = rest[end:].strip()


def test_the_codes_on_the_page_are_those_of_the_edge() -> None:
    from backbone import errors as carried
    from connectors import errors as edge

    page = (ROOT / "docs/protocol.md").read_text()
    told = set(
        re.findall(
            r"`((?:request|cursor|payload|blob|edge|kind|auth|task|schedule|idempotency|letter|broker|store|session)\.\w+)`",
            page,
        )
    )
    mine, all_of_them = (
        {found.code for found in vars(module).values() if isinstance(found, type) and issubclass(found, BarnabasError)}
        for module in (edge, carried)
    )
    at_its_start = {"internal", "edge.exposed", "edge.port"}
    assert mine - at_its_start <= told <= mine | all_of_them


def test_the_frames_on_the_page_are_those_of_the_edge() -> None:
    from connectors import frames

    page = (ROOT / "docs/protocol.md").read_text()
    told = set(re.findall(r'^\{"type": "(\w+)"', page, re.MULTILINE))
    known = {frame.__struct_config__.tag for union in (frames.FromClient, frames.ToClient) for frame in get_args(union)}
    assert told == known


def test_python_in_the_readme_compiles() -> None:
    found = blocks((ROOT / "README.md").read_text(), "python")
    assert len(found) == 4
    for source in found:
        compile(source, "README.md", "exec")
