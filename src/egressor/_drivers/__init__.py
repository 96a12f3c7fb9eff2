"""
The effects: the clock, and two drivers that perform a plan's steps, one blocking, one awaiting.

A driver decides nothing. It never drops a plan: what interrupts a step is thrown into the plan at that step, and the
plan runs on to its end.
"""
