"""How many inputs were judged and with what outcome, and what that means for the whole check."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

# Where more than one in ASIDE inputs is set aside, the others say too little.
ASIDE = 5


@dataclass(kw_only=True)
class Tally:
    """How many inputs of one deployment were judged, and what became of them.

    Only inputs of the list count for a doubt: where Hypothesis climbs, it climbs to where float32 is at its worst.

    Attributes:
        tried: inputs that were judged.
        listed: of these, those that nobody climbed to.
        uninformative: of these, those on which nothing can be said.
        vague: of which outputs, and on how many inputs.
        set_aside: inputs on which float32 does not say how many rows there are: they count as not tried.
        listed_aside: of these, those that nobody climbed to.
        conditioned: inputs on which the input's own rounding explains the difference.
        hidden: of these, those that nobody climbed to, where only how large the output is elsewhere explains it: an
            error of a tenth of the output would pass.
        tied: inputs on which the answer is right once ties are broken another way.
        ties: where these are, such as "topk of module edges", and on how many inputs.
    """

    tried: int = 0
    listed: int = 0
    uninformative: int = 0
    vague: Counter[str] = field(default_factory=Counter)
    set_aside: int = 0
    listed_aside: int = 0
    conditioned: int = 0
    hidden: int = 0
    tied: int = 0
    ties: Counter[str] = field(default_factory=Counter)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know, whatever comes of it."""
        result = []
        if self.tied:
            where = ", ".join(sorted(self.ties))
            result.append(
                f"ties in {where}: on {self.tied} of {self.tried} inputs keys are equal, or float32 cannot tell them "
                "apart; with the ties broken the other way the answers agree"
            )
        if self.set_aside:
            result.append(
                f"{self.set_aside} inputs were set aside: an element lies at a threshold, where rounding decides "
                "(what a comparison gives, how many rows are kept)"
            )
        return tuple(result)

    @property
    def is_unsettled(self) -> bool:
        """Whether the rest of the list may decide about the doubt, either way."""
        return bool(self.hidden or self.listed_aside) or self.uninformative * 4 > self.listed

    @property
    def doubt(self) -> str:
        """Why too little can be said of too many of the list's inputs; "" where that is not so."""
        if self.listed_aside * ASIDE > self.listed + self.listed_aside:
            return (
                f"{self.listed_aside} of {self.listed + self.listed_aside} inputs lie at a threshold, where rounding "
                "decides (what a comparison gives, how many rows are kept), and were set aside: more than a fifth"
            )
        if self.hidden * ASIDE > self.listed:
            return (
                f"on {self.hidden} of {self.listed} inputs the answer is off, and only how large the output is "
                "elsewhere (on another input, a sample, or as max_value says) explains it: more than a fifth"
            )
        if self.uninformative * 2 <= self.listed:
            return ""
        return (
            f"on {self.uninformative} of {self.listed} inputs {', '.join(self.vague)}: "
            "float32 is so far from float64 that even zeros would be within the tolerance: rounding is most of it, as "
            "where numbers cancel; or forward draws random numbers, or keeps something from call to call, which did "
            "not show when it was run twice"
        )
