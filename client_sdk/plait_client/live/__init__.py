"""Hearing of others' edits: a pure follower, and what carries its frames."""
