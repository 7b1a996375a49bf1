"""The page on tiers says what the table of policies says."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from backbone.settings import LONGEST_TURN, Settings, TierPolicy, TierTable
from streams.dispatch import MOST_DEATHS

PAGE = (Path(__file__).parents[2] / "docs/tiers.md").read_text()
UNITS = {"s": "seconds", "min": "minutes", "h": "hours"}


def rows() -> list[list[str]]:
    lines = re.findall(r"^\| (.+) \|$", PAGE, re.MULTILINE)
    return [line.split(" | ") for line in lines[: 1 + len(TierTable.model_fields)]]


def read(cell: str) -> object:
    if cell == "none":
        return None
    if found := re.fullmatch(r"(\d+) (s|min|h)", cell):
        return timedelta(**{UNITS[found[2]]: int(found[1])})
    return int(cell) if cell.isdecimal() else cell


def test_the_page_has_the_table_cell_by_cell() -> None:
    (_, *columns), *tiers = rows()
    assert columns == list(TierPolicy.model_fields)
    told = {name: dict(zip(columns, map(read, cells), strict=True)) for name, *cells in tiers}
    assert told == {name: getattr(TierTable(), name).model_dump() for name in TierTable.model_fields}


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    handler, turn = Settings.model_fields["handler_timeout"].default, LONGEST_TURN
    assert f"at most {handler.seconds} s (`BARNABAS_HANDLER_TIMEOUT`)" in PAGE
    assert f"take longer than {turn.seconds} s" in PAGE
    assert f"that is {(handler + turn).seconds} s" in PAGE
    assert f"`BARNABAS_PARTITIONS` ({Settings.model_fields['partitions'].default}) of them" in PAGE
    assert MOST_DEATHS == 3
    assert "Once three did without an outcome" in PAGE
