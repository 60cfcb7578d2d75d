"""What all objects of evidence.json have in common: their base class, and the types of their values."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..checks.check import Verdict

# JSON has no infinity and no NaN: they are texts. A count stays a whole number.
Figure = float | int | Literal["inf", "-inf", "nan"]
# A text in the file, and in Python an enumeration.
VerdictText = Annotated[Verdict, Field(strict=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class Entry(BaseModel):
    """One object of the file.

    Attributes:
        ALWAYS: keys with a default that are written today, and that an older file of schema 1 may lack.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    ALWAYS: ClassVar[frozenset[str]] = frozenset()

    def as_json(self) -> dict[str, Any]:
        """Return the object as it is written: the keys that were set, in the schema's order, then those it lacks."""
        return self.model_dump(by_alias=True, exclude_unset=True)


def as_figure(value: float | None) -> Figure | None:
    """Write infinity and NaN as texts: JSON has neither, and other readers than Python's refuse them."""
    if value is None or math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
