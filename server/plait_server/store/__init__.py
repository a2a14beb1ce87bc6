"""Stores: where revisions are durable. One protocol, one contract test, one module per engine."""

from plait_server.store.protocol import Store
from plait_server.store.record import (
    Address,
    AlreadySettled,
    ChangeRow,
    CollectionRecord,
    Commit,
    CommitResult,
    Committed,
    ConflictRecord,
    DocumentRow,
    HeadMoved,
    KeyRecord,
    KeyTaken,
    RevisionKind,
    RevisionRecord,
    SnapshotRecord,
    StoredDocument,
)

__all__ = [
    "Address",
    "AlreadySettled",
    "ChangeRow",
    "CollectionRecord",
    "Commit",
    "CommitResult",
    "Committed",
    "ConflictRecord",
    "DocumentRow",
    "HeadMoved",
    "KeyRecord",
    "KeyTaken",
    "RevisionKind",
    "RevisionRecord",
    "SnapshotRecord",
    "Store",
    "StoredDocument",
]
