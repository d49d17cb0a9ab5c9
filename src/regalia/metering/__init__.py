"""What a call costs, what it may cost, and proof of both. `Metering` counts, `Keeper` keeps it in step."""

from regalia.metering.book import Book, Budget, Limit, Who
from regalia.metering.keeper import Keeper
from regalia.metering.metering import Metering, Reservation
from regalia.metering.money import Price

__all__ = ["Book", "Budget", "Keeper", "Limit", "Metering", "Price", "Reservation", "Who"]
