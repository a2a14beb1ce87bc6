"""Edits on their way: in line, written down first, sent until they are decided."""
