"""
A price, and the arithmetic of costs.

All of it is integers: a price is whole pico-dollars (a millionth of a millionth of a US dollar) for one unit, which
holds "0.0375 USD for a million tokens" exactly, and six decimals of it. A cost is a sum of products, exact, and is
rounded once, up, where it becomes micro-dollars.
"""

from __future__ import annotations

from operator import mul
from typing import TYPE_CHECKING, Final, NamedTuple

from egressor._core.usage import INPUTS, UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from egressor._core.usage import Usage

__all__ = ["WHOLE", "Band", "Cost", "Part", "Price", "band"]

WHOLE: Final = 10_000
"""
Parts of a price that are paid without a discount: a discount is a whole number of ten-thousandths.
"""
_MICRO: Final = 10**6
_ALL_IN: Final = range(INPUTS)
_ALL_OUT: Final = range(INPUTS, UNITS.index("seconds"))
_TEXT_IN: Final = tuple(UNITS.index(unit) for unit in ("input", "cached", "written", "written_1h"))
_TEXT_OUT: Final = tuple(UNITS.index(unit) for unit in ("output", "reasoning"))
_NO_END: Final = 2**200
_REQUEST: Final = UNITS.index("requests")

# What a unit without a price of its own is billed as. A fee (a search, a page) is billed as nothing else.
_INSTEAD: Final = {
    "cached": "input",
    "written": "input",
    "written_1h": "written",
    "audio_input": "input",
    "cached_audio": "cached",
    "image_input": "input",
    "cached_image": "cached",
    "video_input": "input",
    "reasoning": "output",
    "audio_output": "output",
    "image_output": "output",
    "video_output": "output",
}


class Band(NamedTuple):
    """
    The prices from one length of context on.

    Attributes:
        above: They hold if more tokens than this were sent; -1 for the first band.
        pico_usd: Pico-dollars for one of each unit, in the order of `Usage`; 0 for a unit without a price.
        gaps: Positions of the units without a price.
    """

    above: int
    pico_usd: tuple[int, ...]
    gaps: tuple[int, ...]


class Part(NamedTuple):
    """
    One line of a bill.

    Attributes:
        unit: The unit, as `Usage` names it.
        amount: How many of it.
        each_pico_usd: Pico-dollars for one, before a discount.
        pico_usd: Their product.
    """

    unit: str
    amount: int
    each_pico_usd: int
    pico_usd: int


class Cost(NamedTuple):
    """
    What a call cost.

    Attributes:
        pico_usd: Pico-dollars, after a discount.
        source: Where the price came from: ``own``, ``genai-prices 0.2.3``, ``bundled 2026-11-29``, ``ceiling``.
        unpriced: Units that were used and that the price doesn't know: what they cost is missing here.
    """

    pico_usd: int
    source: str
    unpriced: tuple[str, ...] = ()

    @property
    def micro_usd(self) -> int:
        """
        Micro-dollars, rounded up: what a budget is charged.
        """
        return -(-self.pico_usd // _MICRO)

    @property
    def usd(self) -> Decimal:
        """
        US dollars, exactly.
        """
        from decimal import Decimal

        return Decimal(self.pico_usd).scaleb(-12)


class Price(NamedTuple):
    """
    What a model costs at a time.

    Attributes:
        model: The model's name in its source.
        source: Where the price came from.
        bands: By length of context, the longest first; never empty.
        keep: Ten-thousandths of it that are paid: 10,000, or less with a discount.
        unknown: Empty if there is a price. Else what the configuration wants done with such a model: ``refuse``, or
            ``estimate``. The bands then hold the ceiling: even a model that was refused has a price, should an answer
            turn out to be from it.
        window: Tokens that a request and its answer have together at most, the model's context; None if its source
            doesn't say.
    """

    model: str
    source: str
    bands: tuple[Band, ...]
    keep: int = WHOLE
    unknown: str = ""
    window: int | None = None

    def cost(self, usage: Usage) -> Cost:
        """
        Return what *usage* costs.
        """
        band = self._band(usage)
        total = sum(map(mul, usage, band.pico_usd))
        if self.keep != WHOLE:
            # Rounded up to pico-dollars and then to micro-dollars is the same as rounded up once.
            total = -(-total * self.keep // WHOLE)
        gaps = tuple([UNITS[at] for at in band.gaps if usage[at]]) if band.gaps else ()
        return Cost(total, self.source, gaps)

    def most(self, sent: int, received: int, *, text: bool = True) -> int:
        """
        Return micro-dollars that a call can cost at most, whatever kinds its tokens turn out to be of.

        Fees for tools that the provider runs by itself are not in it.

        Args:
            sent: Tokens that it sends at most; of text, no more than its bytes.
            received: Tokens that it receives at most, thought ones included.
            text: Whether it is about text alone. Default: True; else audio, images and video count too.
        """
        inputs, outputs = (_TEXT_IN, _TEXT_OUT) if text else (_ALL_IN, _ALL_OUT)
        dearest = max(
            sent * max(each.pico_usd[at] for at in inputs) + received * max(each.pico_usd[at] for at in outputs)
            for each in self.bands
            if sent > each.above
        )
        total = dearest + max(each.pico_usd[_REQUEST] for each in self.bands)
        return -(-total * self.keep // (WHOLE * _MICRO))

    def affords(self, micro_usd: int, sent: int, *, text: bool = True) -> int | None:
        """
        Return how many tokens a call may receive at most, so that `most` is no more than *micro_usd*.

        Returns:
            The tokens, 0 or more; -1 if what it sends costs more already; None if what it receives costs nothing.
        """
        inputs, outputs = (_TEXT_IN, _TEXT_OUT) if text else (_ALL_IN, _ALL_OUT)
        # The largest total that a discount and the rounding leave within the amount.
        money = micro_usd * WHOLE * _MICRO // self.keep if self.keep else _NO_END
        money -= max(each.pico_usd[_REQUEST] for each in self.bands)
        least: int | None = None
        for each in self.bands:
            if sent <= each.above:
                continue
            rest = money - sent * max(each.pico_usd[at] for at in inputs)
            dearest = max(each.pico_usd[at] for at in outputs)
            if rest < 0:
                return -1
            if dearest:
                least = rest // dearest if least is None else min(least, rest // dearest)
        return None if self.keep == 0 else least

    def parts(self, usage: Usage) -> tuple[Part, ...]:
        """
        Return the lines of the bill for *usage*, of the units that it has.
        """
        rates = self._band(usage).pico_usd
        lines = zip(UNITS, usage, rates, strict=True)
        return tuple(Part(unit, count, each, count * each) for unit, count, each in lines if count)

    def _band(self, usage: Usage) -> Band:
        bands = self.bands
        if len(bands) > 1:
            sent = sum(usage[:INPUTS])
            for band in bands[:-1]:
                if sent > band.above:
                    return band
        return bands[-1]


def band(above: int, pico_usd: Mapping[str, int]) -> Band:
    """
    Build a band from the prices that are known: a unit without one is billed as the plainer one that it is a kind of.
    """
    rates: dict[str, int | None] = {}
    for unit in UNITS:
        known: str | None = unit
        while known is not None and known not in pico_usd:
            known = _INSTEAD.get(known)
        rates[unit] = None if known is None else pico_usd[known]
    # A call as such is free unless somebody says otherwise, so it is no gap.
    gaps = tuple(at for at, unit in enumerate(UNITS) if rates[unit] is None and unit != "requests")
    return Band(above, tuple(rate or 0 for rate in rates.values()), gaps)
