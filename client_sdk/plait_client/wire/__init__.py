"""Requests as frozen bytes, and one request to a decided answer."""
