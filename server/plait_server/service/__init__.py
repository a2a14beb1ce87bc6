"""The domain: open documents, the road of an edit, idempotency, conflicts."""

from plait_server.service.answer import (
    Answer,
    BatchAnswer,
    ConflictView,
    DocumentEntry,
    DocumentView,
    Outcome,
    Page,
    Readiness,
    RevisionView,
)
from plait_server.service.limits import LiveLimits, ServiceLimits
from plait_server.service.locks import LockView
from plait_server.service.operation import Operation
from plait_server.service.request import (
    Batch,
    Caller,
    DocumentKey,
    Edit,
    EditKind,
    IdempotencyKey,
    IfMatch,
    MergeMode,
)
from plait_server.service.rules import CollectionSettings, Rules
from plait_server.service.service import Service
from plait_server.store import Hold

__all__ = [
    "Answer",
    "Batch",
    "BatchAnswer",
    "Caller",
    "CollectionSettings",
    "ConflictView",
    "DocumentEntry",
    "DocumentKey",
    "DocumentView",
    "Edit",
    "EditKind",
    "Hold",
    "IdempotencyKey",
    "IfMatch",
    "LiveLimits",
    "LockView",
    "MergeMode",
    "Operation",
    "Outcome",
    "Page",
    "Readiness",
    "RevisionView",
    "Rules",
    "Service",
    "ServiceLimits",
]
