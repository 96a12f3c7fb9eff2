"""
Language models by the official SDKs: chat, streams, checked JSON and sentiment, with chains of models.

What happens next is decided by a generator in `chain`, once for both colours; `client` drives it. `vendors` says how
an API is asked and read, `sending` holds the SDKs.
"""

from __future__ import annotations

from .answers import Answer, BadAnswer, Sentiment, ToolCall
from .client import LLM
from .streams import AsyncStream, Stream

__all__ = ["LLM", "Answer", "AsyncStream", "BadAnswer", "Sentiment", "Stream", "ToolCall"]
