"""
Steps turned into events.

A tap sees every step of every plan, and can't change, break or delay a call: taps run on a thread of their own, behind
a bounded queue that counts what it drops.
"""

from __future__ import annotations

from .taps import Event, Taps

__all__ = ["Event", "Taps"]
