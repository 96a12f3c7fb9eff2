"""
The demo's parts: services that limit, ban, fail and challenge, a workload for them, and a judge.

The services run in a process of their own and share no code with the governor. The judge decides by what they have
noted alone: it never asks the governor how it did, except whether it holds anything at the end.
"""

from __future__ import annotations
