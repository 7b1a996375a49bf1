"""Adding up an invoice in exact decimals: the tax of each rate is rounded once, as EN 16931 has it (BR-CO-17).

Knows no Barnabas. `add_up` runs in another process: a module-level function, whose arguments and answer can be pickled.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

MINOR_UNITS = {"CHF": 2, "EUR": 2, "GBP": 2, "JPY": 0, "KWD": 3, "PLN": 2, "SEK": 2, "USD": 2}
"""Digits after the point of an amount (ISO 4217)."""


class Item(NamedTuple):
    """A line: how many, the price of one without tax, and the tax in percent."""

    quantity: Decimal
    price: Decimal
    tax: Decimal


class Share(NamedTuple):
    """What the lines of one rate come to."""

    rate: Decimal
    net: Decimal
    tax: Decimal


def add_up(items: list[Item], digits: int) -> list[Share]:
    """Return what the lines come to, by rate, the lowest first.

    Args:
        items: the lines.
        digits: after the point of an amount.
    """
    unit = Decimal(1).scaleb(-digits)
    nets: dict[Decimal, Decimal] = {}
    for item in items:
        net = (item.quantity * item.price).quantize(unit, ROUND_HALF_UP)
        nets[item.tax] = nets.get(item.tax, Decimal(0)) + net
    return [Share(rate, net, (net * rate / 100).quantize(unit, ROUND_HALF_UP)) for rate, net in sorted(nets.items())]
