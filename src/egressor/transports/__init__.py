"""
HTTP clients, governed from below.

A transport sits where a client library hands over one request: it knows that library's requests, bodies and errors,
and leaves every decision to the governor, where all state lives. No library is imported before its first request, none
is subclassed at import, and what a client sees (bytes, headers, exceptions) is what the server or the library gave.
"""

from __future__ import annotations

from .nested import NestedRetryWarning

__all__ = ["NestedRetryWarning"]
