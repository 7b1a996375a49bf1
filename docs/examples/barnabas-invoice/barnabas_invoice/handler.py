"""The kind `invoice.total`: an invoice's lines to what is to be paid."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from barnabas_invoice.totals import MINOR_UNITS, Item, add_up
from schemas.tiers import Tier
from streams.errors import PayloadError
from streams.handlers.port import Context, Handler

Amount = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]


class Line(BaseModel):
    """A line of an invoice.

    Attributes:
        quantity: how many; negative for what is given back.
        price: of one, without tax.
        tax: in percent.
    """

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    quantity: Amount = Decimal(1)
    price: Amount
    tax: Annotated[Amount, Field(ge=0, le=100)] = Decimal(0)


class InvoicePayload(BaseModel):
    """An invoice.

    Attributes:
        currency: a code of ISO 4217.
        lines: what is to be paid for.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"currency": "EUR", "lines": [{"name": "Oars", "quantity": 2, "price": "19.99", "tax": 19}]},
            ]
        },
    )

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    lines: Annotated[list[Line], Field(min_length=1, max_length=10_000)]


class Rate(BaseModel):
    """What the lines of one tax rate come to."""

    tax: Decimal
    net: Decimal
    tax_amount: Decimal


class InvoiceResult(BaseModel):
    """What is to be paid: `gross` is `net` with all taxes."""

    currency: str
    net: Decimal
    tax_amount: Decimal
    gross: Decimal
    rates: list[Rate]


class InvoiceTotal(Handler[InvoicePayload, InvoiceResult]):
    """Add up an invoice."""

    kind = "invoice.total"
    tier = Tier.REALTIME
    payload = InvoicePayload
    result = InvoiceResult

    async def run(self, payload: InvoicePayload, context: Context) -> InvoiceResult:
        """Add up the lines where that can be stopped: ten thousand of them take a while.

        Raises:
            PayloadError: the currency is not known here.
        """
        digits = MINOR_UNITS.get(payload.currency)
        if digits is None:
            raise PayloadError(
                f"{payload.currency} is not known here; there are: {', '.join(MINOR_UNITS)}", field="currency"
            )
        await context.progress(0.0, f"{len(payload.lines)} lines")
        items = [Item(line.quantity, line.price, line.tax) for line in payload.lines]
        shares = await context.compute(add_up, items, digits)
        net = sum((share.net for share in shares), Decimal(0))
        tax = sum((share.tax for share in shares), Decimal(0))
        return InvoiceResult(
            currency=payload.currency,
            net=net,
            tax_amount=tax,
            gross=net + tax,
            rates=[Rate(tax=share.rate, net=share.net, tax_amount=share.tax) for share in shares],
        )
