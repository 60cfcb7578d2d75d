"""What a server costs, as its endpoint file says. Exact: a price is the decimal number that was written."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from .tables import PriceTable


@dataclass(frozen=True, kw_only=True)
class Prices:
    """The prices of an endpoint, in US dollars.

    Attributes:
        per_instance_hour_usd: of one instance, for an hour in which it exists.
        instances: how many there are.
        per_million_requests_usd: for a million calls.
        per_gb_in_usd: for 10⁹ bytes that are sent there.
        per_gb_out_usd: for 10⁹ bytes that are answered.
        source: where and when they were read.
    """

    per_instance_hour_usd: Decimal
    instances: int = 1
    per_million_requests_usd: Decimal = Decimal(0)
    per_gb_in_usd: Decimal = Decimal(0)
    per_gb_out_usd: Decimal = Decimal(0)
    source: str

    @classmethod
    def of_table(cls, table: PriceTable) -> Prices:
        """Read the table [prices] of an endpoint file, which was checked."""
        return cls(
            per_instance_hour_usd=_exact(table.per_instance_hour_usd),
            instances=table.instances,
            per_million_requests_usd=_exact(table.per_million_requests_usd),
            per_gb_in_usd=_exact(table.per_gb_in_usd),
            per_gb_out_usd=_exact(table.per_gb_out_usd),
            source=table.source,
        )


def _exact(price: float) -> Decimal:
    # The shortest number that reads as this float is the one that was written, up to 15 digits.
    return Decimal(str(price))
