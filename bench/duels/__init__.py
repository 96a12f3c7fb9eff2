"""
Egressor's client for language models against LiteLLM's Router: the same cases, the same upstream, one run.
"""
