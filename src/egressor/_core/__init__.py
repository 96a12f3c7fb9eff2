"""
The decisions.

Everything here is pure: no clock, dice, locks, logs, I/O or await. Time (integer microseconds) and chance come in
as arguments; decisions go out as values. A linter keeps the effectful modules of the standard library out.
"""
