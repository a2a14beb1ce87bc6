"""Commits to write, with what a test does not care about filled in."""

from typing import Any

from plait_server.store import Address, Commit, ConflictRecord, KeyRecord, RevisionRecord

HERE = Address("acme", "orders", "1")
THERE = Address("acme", "orders", "2")
NOW = 1_800_000_000_000


def revision(n: int, patch: bytes = b"[]", kind: Any = "edit", **rest: Any) -> RevisionRecord:
    fields: dict[str, Any] = {
        "base": n - 1 or None,
        "submitted": None,
        "author": "ann",
        "caller": "ann-token",
        "key": None,
        "at": NOW + n,
        "message": None,
        "trace": None,
    }
    return RevisionRecord(n=n, kind=kind, patch=patch, **(fields | rest))


def key(name: str, answer: bytes = b"{}", stored: int = NOW, expires: int = NOW + 1000) -> KeyRecord:
    return KeyRecord("ann-token", name, "fingerprint", answer, stored, expires)


def conflict(id: str, expires: int = NOW + 1000) -> ConflictRecord:
    return ConflictRecord(id, "ann", 1, 2, b"{}", NOW, expires)


def edit(head: int, address: Address = HERE, **rest: Any) -> Commit:
    """The commit of revision head + 1."""
    made = revision(head + 1, rest.pop("patch", b"[]"), rest.pop("kind", "edit" if head else "create"))
    return Commit(address, head, NOW, made, **rest)


def keeping(head: int, address: Address = HERE, **rest: Any) -> Commit:
    """A commit without a revision."""
    return Commit(address, head, NOW, None, **rest)
