"""The kind's own tests, and the suite that every handler passes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from barnabas_invoice.handler import InvoiceTotal
from barnabas_invoice.totals import Item, add_up

from tests.contracts.handler import HandlerContract, context, read

OARS = {"name": "Oars", "quantity": 2, "price": "19.99", "tax": 19}


class TestInvoiceTotal(HandlerContract):
    handler_class = InvoiceTotal

    @pytest.fixture
    def example(self):
        return {"currency": "EUR", "lines": [OARS]}

    @pytest.fixture
    def bad(self):
        return {
            "currency": {"currency": "XAU", "lines": [OARS]},
            "lines": {"currency": "EUR", "lines": []},
            "lines.1.tax": {"currency": "EUR", "lines": [OARS, OARS | {"tax": 101}]},
        }

    async def test_what_is_to_be_paid(self, handler):
        lines = [OARS, {"name": "Tide table", "price": 7.5, "tax": 7}, {"name": "Rope", "quantity": -1, "price": "0.2"}]
        done = await handler.run(read(handler, {"currency": "EUR", "lines": lines}), context())
        assert (done.net, done.tax_amount, done.gross) == (Decimal("47.28"), Decimal("8.13"), Decimal("55.41"))


def test_the_tax_of_a_rate_is_rounded_once():
    items = [Item(Decimal(1), Decimal("0.33"), Decimal(20))] * 3
    assert [(share.net, share.tax) for share in add_up(items, 2)] == [(Decimal("0.99"), Decimal("0.20"))]
    assert [share.tax for share in add_up([Item(Decimal(1), Decimal(105), Decimal(10))], 0)] == [Decimal(11)]
