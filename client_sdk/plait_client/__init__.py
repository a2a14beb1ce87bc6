"""The Python client for a Plait server."""
