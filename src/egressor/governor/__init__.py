"""
The front door, where policies, the store, the drivers and the taps meet.

A `Governor` makes routes, permits and decorators; one call's way is in `calls`. It knows nothing of HTTP: transports
and the gateway come to it, never the other way round.
"""

from __future__ import annotations

from .governor import Governor
from .handlers import Failure
from .permit import Permit
from .route import Route

__all__ = ["Failure", "Governor", "Permit", "Route"]
