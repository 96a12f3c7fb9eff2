"""
What a request to a language model may cost, and what its answer says that it did.

The worst case is held: as many tokens sent as the body has bytes, as many received as the request allows, of the
dearest kind. An answer that says what it used is charged at that; one that doesn't, at what was held, as unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from egressor.dialects.asking import COUNTS, NO_TEXT, read_request
from egressor.ledger.plain import clean
from egressor.prices import PriceBook

from .money import PRICED

if TYPE_CHECKING:
    from egressor.dialects.asking import Asking
    from egressor.dialects.usage_stream import Streamed
    from egressor.policies.prices import Prices
    from egressor.prices.price import Price

__all__ = ["Meter", "Pricing", "Quote", "Request"]

_FREE: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
# What a picture, a file or a sound beside the text is taken to be, in tokens.
_BESIDE: Final = 100_000
# Tokens that an answer is taken to have at most, where its request says nothing and may be estimated: few have more.
_USUAL: Final = 16_384
_PICO: Final = 10**6


class Request(Protocol):
    """
    What is sent, as far as its price goes.
    """

    def asked(self) -> tuple[str, str, bytes | None]:
        """
        Return the method, the path, and the body; None for one that can't be read now.
        """


class Quote(NamedTuple):
    """
    What a request may cost.

    Attributes:
        micro_usd: Micro-dollars at most; None if nobody knows.
        model: The model that it names, or empty.
        why: Why nobody knows.
    """

    micro_usd: int | None
    model: str = ""
    why: str = ""


class Pricing:
    """
    The prices of one governor.

    Args:
        prices: The user's own, and what to do about an unknown model.
    """

    def __init__(self, prices: Prices) -> None:
        self.book = PriceBook(prices)

    def quote(self, dialect: str, request: Request, now: int) -> Quote:
        """
        Say what *request* to a service of *dialect* may cost at *now*.
        """
        if dialect not in PRICED:
            return Quote(None, why=f"requests of the dialect {dialect} have no price")
        method, path, body = request.asked()
        path = path.partition("?")[0].rstrip("/")
        if path.endswith(COUNTS):
            return Quote(0)
        asking = read_request(body, path) if body and not any(part in path for part in NO_TEXT) else None
        if asking is None:
            if method in _FREE:
                return Quote(0)
            return Quote(None, why="its body can't be read as a request to a language model")
        model = clean(asking.model)
        prices = self._prices(asking, dialect, now)
        unknown = next((each.model for each in prices if each.unknown == "refuse"), None)
        if unknown is not None:
            return Quote(None, model, f"the model {clean(unknown) or 'that it does not name'} has no price")
        received: int | None = asking.most_output
        if asking.kind == "embeddings":
            received = 0
        if received is None and self.book.settings.on_unknown_price == "estimate":
            received = _USUAL
        if received is None:
            return Quote(None, model, "it does not say how long its answer may be: max_tokens")
        sent, come = asking.size + (0 if asking.text else _BESIDE), received * asking.answers
        return Quote(max(1, *[each.most(sent, come, text=asking.text) for each in prices]), model)

    def _prices(self, asking: Asking, dialect: str, now: int) -> list[Price]:
        """
        Return the prices of which one will hold: a dearer tier may be denied, and another model may answer.
        """
        ways = {("", ""), (asking.tier, asking.speed)}
        return [
            self.book.find(model, at=now, provider=dialect, tier=tier, speed=speed)
            for model in (asking.model, *asking.others)
            for tier, speed in ways
        ]

    def meter(self, dialect: str, model: str, now: int) -> Meter | None:
        """
        Return what knows the cost of an answer by what it says that it used; None if it has none.
        """
        return Meter(self.book, dialect, model, now) if dialect in PRICED else None


class Meter(NamedTuple):
    """
    Knows the cost of one answer.

    Attributes:
        book: The prices.
        dialect: What the service speaks.
        model: The model that the request names.
        now: When it was sent, in microseconds since 1970.
    """

    book: PriceBook
    dialect: str
    model: str
    now: int

    def cost(self, said: Streamed) -> int | None:
        """
        Return what the answer did cost, in micro-dollars; None if it has not *said* so, or has not come to its end.
        """
        reported = said.reported
        if reported.billed_pico_usd is not None:
            return -(-reported.billed_pico_usd // _PICO)
        if not said.ended or not reported.said:
            return None
        price = self.book.find(
            reported.model or self.model,
            at=self.now,
            provider=self.dialect,
            tier=reported.tier,
            speed=reported.speed,
        )
        return price.cost(reported.usage).micro_usd
