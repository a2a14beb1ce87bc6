"""Identifiers that sort by the time they were made, with 80 random bits each (the ULID layout)."""

from collections.abc import Callable

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def identifier(at: int, random_bytes: Callable[[int], bytes]) -> str:
    """Make an identifier of 26 characters for a moment in milliseconds since 1970."""
    return spell((at << 80) | int.from_bytes(random_bytes(10), "big"))


def spell(number: int) -> str:
    """Write a number below 2^130 in 26 characters that sort as it does."""
    return "".join(ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
