"""The domain: open documents, the road of an edit, idempotency, conflicts."""

from plait_server.service.answer import (
    Answer,
    BatchAnswer,
    ConflictView,
    DocumentEntry,
    DocumentView,
    HistoryPage,
    LabelView,
    Outcome,
    Page,
    Readiness,
    RevisionView,
)
from plait_server.service.edit import Begun
from plait_server.service.limits import LiveLimits, Rates, ServiceLimits
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
from plait_server.service.rules import CollectionSettings, Retention, Rules
from plait_server.service.service import Service
from plait_server.store import CommitResult, Hold

__all__ = [
    "Answer",
    "Batch",
    "BatchAnswer",
    "Begun",
    "Caller",
    "CollectionSettings",
    "CommitResult",
    "ConflictView",
    "DocumentEntry",
    "DocumentKey",
    "DocumentView",
    "Edit",
    "EditKind",
    "HistoryPage",
    "Hold",
    "IdempotencyKey",
    "IfMatch",
    "LabelView",
    "LiveLimits",
    "LockView",
    "MergeMode",
    "Operation",
    "Outcome",
    "Page",
    "Rates",
    "Readiness",
    "Retention",
    "RevisionView",
    "Rules",
    "Service",
    "ServiceLimits",
]
