"""The domain: open documents, the road of an edit, idempotency, conflicts."""

from plait_server.service.answer import (
    Answer,
    ConflictView,
    DocumentEntry,
    DocumentView,
    Outcome,
    Page,
    Readiness,
    RevisionView,
)
from plait_server.service.limits import LiveLimits, ServiceLimits
from plait_server.service.operation import Operation
from plait_server.service.request import (
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

__all__ = [
    "Answer",
    "Caller",
    "CollectionSettings",
    "ConflictView",
    "DocumentEntry",
    "DocumentKey",
    "DocumentView",
    "Edit",
    "EditKind",
    "IdempotencyKey",
    "IfMatch",
    "LiveLimits",
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
