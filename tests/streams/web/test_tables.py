"""Tables: spans in each of their cells, headers, tables in tables, and what a page may make of a few bytes."""

from __future__ import annotations

import pytest

from streams.web.tables import MOST_CELLS
from streams.web.work import Mode
from tests.streams.web.reading import scraped


def tables(page):
    return scraped(page, Mode.TABLES).tables


def grid(*rows):
    """The rows of the one table that has no header."""
    (table,) = tables(f"<table>{''.join(rows)}</table>")
    assert table.header == []
    return table.rows


def test_a_table_has_a_caption_a_header_and_rows():
    (table,) = tables(
        "<table><caption> Tides\n today </caption><thead><tr><th>Time<th>Height</thead>"
        "<tbody><tr><th>06:12<td>4.1 <b>m</b></tbody><tfoot><tr><td>18:40<td>4.4 m</tfoot></table>"
    )
    assert table.caption == "Tides today"
    assert table.header == ["Time", "Height"]
    assert table.rows == [["06:12", "4.1 m"], ["18:40", "4.4 m"]]


def test_rows_of_headings_alone_are_the_header_and_several_are_joined_by_column():
    (table,) = tables(
        "<table><tr><th rowspan=2>Port<th colspan=2>Tide<tr><th>high<th>low<tr><td>Brest<td>7<td>1<tr><th>a<th>b<th>c</table>"
    )
    assert table.header == ["Port", "Tide high", "Tide low"]
    assert table.rows == [["Brest", "7", "1"], ["a", "b", "c"]]


def test_a_table_of_headings_alone_has_rows():
    assert grid("<tr><th>a<th>b") == [["a", "b"]]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (["<tr><td colspan=2>a<td>b"], [["a", "a", "b"]]),
        (["<tr><td rowspan=2>a<td>b", "<tr><td>c"], [["a", "b"], ["a", "c"]]),
        (["<tr><td>a<td rowspan=2>b", "<tr><td>c"], [["a", "b"], ["c", "b"]]),
        (["<tr><td rowspan=2 colspan=2>a<td>b", "<tr><td>c"], [["a", "a", "b"], ["a", "a", "c"]]),
        (["<tr><td>a<td>b<td rowspan=2>c", "<tr><td>d"], [["a", "b", "c"], ["d", "", "c"]]),
        (["<tr><td>a<td>b<td rowspan=3>c", "<tr>", "<tr><td>d"], [["a", "b", "c"], ["", "", "c"], ["d", "", "c"]]),
        (["<tr><td rowspan=0>a<td>b", "<tr><td>c", "<tr><td>d"], [["a", "b"], ["a", "c"], ["a", "d"]]),
        (["<tr><td rowspan=999999999>a<td>b", "<tr><td>c"], [["a", "b"], ["a", "c"]]),
        (["<tr><td colspan=-3>a<td colspan=x>b<td colspan=''>c<td colspan=0>d"], [["a", "b", "c", "d"]]),
        (["<tr><td colspan=' 2px'>a<td rowspan=1e9>b", "<tr><td>c"], [["a", "a", "b"], ["c", "", ""]]),
        (["<tr><td>a<td rowspan=2>b", "<tr><td colspan=2>c"], [["a", "b"], ["c", "c"]]),
        (["<tbody><tr><td rowspan=9>a<td>b</tbody>", "<tbody><tr><td>c"], [["a", "b"], ["c", ""]]),
        (["<tr><td>a", "<tr><td>b<td>c"], [["a", ""], ["b", "c"]]),
    ],
)
def test_spans_are_repeated_in_each_cell_that_they_cover(rows, wanted):
    assert grid(*rows) == wanted


@pytest.mark.parametrize(
    "page",
    [
        "<table><form><tr><td>a<td>b</tr><tr><td>c<td>d</tr></form></table>",
        "<table><tbody><form><tr><td>a<td>b</tr></form><tr><td>c<td>d</table>",
        "<table><tr><form><td>a</td><td>b</td></form></tr><tr><td>c<td>d</table>",
        "<table><td>a<td>b<tr><td>c<td>d</table>",
    ],
)
def test_what_stands_where_nothing_may_is_looked_through(page):
    (table,) = tables(page)
    assert table.rows == [["a", "b"], ["c", "d"]]


def test_a_table_within_is_one_of_its_own_and_no_part_of_the_cell():
    outer, inner = tables("<table><tr><td>out<table><tr><td>in</table>side<td>b</table>")
    assert (outer.rows, inner.rows) == ([["outside", "b"]], [["in"]])


@pytest.mark.parametrize("page", ["<table></table>", "<table><tr></table>", "<table><caption>x</table>", "<p>no table"])
def test_what_has_no_cells_is_no_table(page):
    assert tables(page) == []


@pytest.mark.slow
def test_a_bomb_of_spans_is_bounded_and_the_tables_before_it_are_there():
    bomb = "<table>" + "<tr>" + "<td colspan=1000 rowspan=65534>x" * 100 + "<tr>" * 10_000 + "</table>"
    result = scraped(f"<table><tr><td>first</table>{bomb}<table><tr><td>later</table>", Mode.TABLES)
    assert [table.rows for table in result.tables] == [[["first"]]]
    assert f"{MOST_CELLS:,}" in result.notes[0]


def test_ragged_rows_are_filled_within_the_bound():
    result = scraped("<table><tr>" + "<td>x" * 1000 + "<tr><td>y" * 10_000, Mode.TABLES)
    assert result.tables == []
    assert result.notes


def test_tables_in_tables_in_tables_are_taken_to_a_depth():
    result = scraped("<table><tr><td>x" * 200, Mode.TABLES)
    assert [table.rows for table in result.tables] == [[["x"]]] * 10
    assert "left out" in result.notes[0]
