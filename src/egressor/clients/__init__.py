"""
Ready-made clients: a provider's own SDK, sent through the gate.

A client knows how to ask and how to read the answer; every request of it is a call of the governor's, made by the
SDK on a transport of ours. No SDK is imported before it is used, and none of its types is handed out.
"""
