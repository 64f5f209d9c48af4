"""A small Kubernetes API server: in memory, one asyncio loop, the real REST API.

First file to read: `store.py` (what is kept and how it changes), then `handlers.py` (how HTTP reaches it).
Knows nothing of how pods run; whoever runs them gives a `NodeBackend` (see `backend.py`).
"""
