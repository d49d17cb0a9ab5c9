"""What a record says of use and cost, written and read back. Records hold integers and strings only."""

from typing import Any

import msgspec

from regalia.ledger import Settlement
from regalia.metering.energy import Energy
from regalia.metering.money import format_amount


def recorded_usage(
    settlement: Settlement, energy: Energy | None = None, *, estimated: bool = False
) -> dict[str, Any]:
    """The field `usage` of an outcome; `estimated` if the engine did not count all of it."""
    usage: dict[str, Any] = {
        "input": settlement.input,
        "output": settlement.output,
        "total": settlement.input + settlement.output,
    }
    if settlement.cached:
        usage["cached"] = settlement.cached
    if estimated:
        usage["counted"] = "estimate"
    if energy is not None:
        usage["energy"] = {"mj": energy.millijoules, "source": energy.source}
        if energy.carbon is not None:
            usage["carbon"] = energy.carbon
    return usage


def recorded_cost(settlement: Settlement) -> dict[str, str]:
    """The field `cost` of an outcome whose model has a price."""
    return {
        "amount": format_amount(settlement.cost),
        "currency": settlement.currency,
        "price": settlement.price,
    }


class RecordedEnergy(msgspec.Struct, frozen=True):
    """What was measured."""

    mj: int = 0


class RecordedUsage(msgspec.Struct, frozen=True):
    """The field `usage` as it is read."""

    input: int = 0
    output: int = 0
    cached: int = 0
    energy: RecordedEnergy | None = None


class RecordedCost(msgspec.Struct, frozen=True):
    """The field `cost` as it is read."""

    amount: str
    currency: str
    price: str
