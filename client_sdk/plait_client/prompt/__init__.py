"""Asking a person on a terminal, field by field."""
