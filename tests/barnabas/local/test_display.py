from __future__ import annotations

import io

from barnabas.local.display import Lines, LiveTable, Row, State, display_for


def test_a_pipe_gets_a_line_a_change_and_details_not_too_often() -> None:
    out, now = io.StringIO(), [0.0]
    lines = Lines(out, every=5.0, clock=lambda: now[0])
    lines.show(Row("worker", State.STARTING))
    for second in range(12):
        now[0] = float(second)
        lines.show(Row("worker", State.STARTING, f"converting the model {second * 8} %"))
    lines.show(Row("kafka", State.READY, seconds=3.94))
    lines.show(Row("kafka", State.READY, seconds=3.94))
    lines.show(Row("worker", State.READY, seconds=11.2))
    assert out.getvalue().splitlines() == [
        "worker starting",
        "worker starting: converting the model 40 %",
        "worker starting: converting the model 80 %",
        "kafka ready in 3.9 s",
        "worker ready in 11.2 s",
    ]


def test_a_terminal_gets_a_table_that_is_drawn_anew() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    display = display_for(out)
    assert isinstance(display, LiveTable)
    with display:
        display.show(Row("kafka", State.STARTING))
        display.show(Row("kafka", State.READY, "[all] well", seconds=2.0))
    last = out.getvalue()
    assert "kafka" in last
    assert "2.0 s" in last
    assert "[all] well" in last
