"""
What a price depends on, besides the time: the model, who sells it, and how it was called.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["Terms", "terms"]

_LONGEST: Final = 200

# What providers call "no tier in particular".
_PLAIN: Final = frozenset({"", "auto", "standard", "on_demand", "none"})


class Terms(NamedTuple):
    """
    What is asked for.

    Attributes:
        model: The model's name, in lower case.
        provider: Who sells it: the name of a dialect, or empty if nobody knows.
        tier: The service tier that the answer names, or empty.
        batch: Whether it was part of a batch.
        speed: ``fast`` for Anthropic's fast mode, else empty.
    """

    model: str
    provider: str = ""
    tier: str = ""
    batch: bool = False
    speed: str = ""

    @property
    def context(self) -> dict[str, str]:
        """
        The same in the words of genai-prices.
        """
        said = {"service_tier": self.tier, "processing": "batch" if self.batch else "", "speed": self.speed}
        return {key: value for key, value in said.items() if value}


def terms(model: str, *, provider: str = "", tier: str = "", batch: bool = False, speed: str = "") -> Terms:
    """
    Put what an answer says in one form: a tier named ``batch`` is a batch, and ``standard`` is no tier.
    """
    tier = tier[:_LONGEST].lower()
    batch = batch or tier == "batch"
    return Terms(
        model[:_LONGEST].lower().removeprefix("models/"),
        provider[:_LONGEST].lower(),
        "" if tier in _PLAIN or tier == "batch" else tier.removeprefix("on_demand_"),
        batch,
        speed[:_LONGEST].lower() if speed.lower() == "fast" else "",
    )
