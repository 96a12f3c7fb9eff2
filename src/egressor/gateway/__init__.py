"""
The proxy: programs in any language go through the governor by pointing a base URL here.

It imports the governor, never the other way round. Only `forward`, `dialling`, `trailers` and `wires` know the client
library. Nothing that a client sends forms a scheme, a host or a port.
"""

from __future__ import annotations
