"""
Bodies that aiohttp could not read to their end: what its parser says of itself is nobody's status, and nobody's code.
"""

from __future__ import annotations

import pytest
from aiohttp import ClientPayloadError
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, ContentLengthError, TransferEncodingError

from egressor import ErrorCategory, classify


@pytest.mark.parametrize("dialect", ["generic", "kraken", "openai"])
@pytest.mark.parametrize(
    ("inner", "category"),
    [
        (ContentLengthError("Not enough data to satisfy content length header."), ErrorCategory.NETWORK),
        (TransferEncodingError("Not enough data to satisfy transfer length header."), ErrorCategory.NETWORK),
        (ContentEncodingError("Can not decode content-encoding: gzip"), ErrorCategory.BAD_RESPONSE),
        (BadHttpMessage("Bad chunk size"), ErrorCategory.BAD_RESPONSE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_parsers_own_code_is_no_status(inner: Exception, category: ErrorCategory, dialect: str) -> None:
    """
    Regression: a body that was cut off was a bad request, or insufficient funds, and so no failure of the service.
    """
    error = ClientPayloadError(f"Response payload is not completed: {inner!r}")
    error.__cause__ = inner
    verdict = classify(error, dialect=dialect)

    assert (verdict.category, verdict.counts, verdict.may_have_run) == (category, True, True)
