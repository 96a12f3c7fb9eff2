"""
What a call costs.

Dated prices in whole pico-dollars a unit, from the user, genai-prices, or a small table that comes along. The room
knows what a call used and when, sends nothing, and reads no clock. What has no price is never free.
"""

from __future__ import annotations

from egressor._core.usage import Usage
from egressor.prices.book import PriceBook, price_of
from egressor.prices.price import Band, Cost, Part, Price

__all__ = ["Band", "Cost", "Part", "Price", "PriceBook", "Usage", "price_of"]
