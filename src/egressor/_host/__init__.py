"""
What this machine gives us: locks of files, the identity of its boot, its file systems, a bell between its processes.

It knows the operating system and nothing of this library; whoever uses it says what a failure means there.
"""
