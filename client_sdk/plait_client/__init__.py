"""The Python client of Plait: many people edit the same JSON documents, and nobody's work is lost.

    async with AsyncPlait("http://localhost:8080") as plait:
        doc = await plait.doc("orders/7")
        async with doc.edit(message="raise budget") as draft:
            draft["budget"] = 120

`Plait` is the same for programs without an event loop. What it means for edits to be merged is written in
`plait_merge`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plait_client.batch import Batch, BatchConflict
    from plait_client.changes import Change
    from plait_client.client import AsyncPlait, Entry, Rules, Server, Surroundings
    from plait_client.conflict import Choice, Facet, Field, MergeConflict, Value
    from plait_client.document import Document
    from plait_client.errors import (
        BaseUnknown,
        Compacted,
        DeadlineExceeded,
        Deleted,
        Forbidden,
        InvalidPatch,
        Locked,
        NotFound,
        OutboxFull,
        OutboxUnusable,
        PlaitError,
        PreconditionFailed,
        RateLimited,
        Refused,
        RetryQuotaSpent,
        StaleFence,
        TestFailed,
        TransportError,
    )
    from plait_client.events import Counters, Retrying, Settled
    from plait_client.history import Label, Leaf, Revision, Version
    from plait_client.lease import Lease, Lock
    from plait_client.operation import Operation
    from plait_client.prompt.prompt import Prompt, ask, settle
    from plait_client.replica.edit import Edit
    from plait_client.resolvers import Resolver, add, both, by_pointer, theirs, yours
    from plait_client.saved import Missed, Saved
    from plait_client.saving.outbox import Outbox
    from plait_client.sync import Plait
    from plait_client.unsaved import UnsavedEdit
    from plait_client.wire.retry import Retry
    from plait_merge import ABSENT

__all__ = [
    "ABSENT",
    "AsyncPlait",
    "BaseUnknown",
    "Batch",
    "BatchConflict",
    "Change",
    "Choice",
    "Compacted",
    "Counters",
    "DeadlineExceeded",
    "Deleted",
    "Document",
    "Edit",
    "Entry",
    "Facet",
    "Field",
    "Forbidden",
    "InvalidPatch",
    "Label",
    "Leaf",
    "Lease",
    "Lock",
    "Locked",
    "MergeConflict",
    "Missed",
    "NotFound",
    "Operation",
    "Outbox",
    "OutboxFull",
    "OutboxUnusable",
    "Plait",
    "PlaitError",
    "PreconditionFailed",
    "Prompt",
    "RateLimited",
    "Refused",
    "Resolver",
    "Retry",
    "RetryQuotaSpent",
    "Retrying",
    "Revision",
    "Rules",
    "Saved",
    "Server",
    "Settled",
    "StaleFence",
    "Surroundings",
    "TestFailed",
    "TransportError",
    "UnsavedEdit",
    "Value",
    "Version",
    "add",
    "ask",
    "both",
    "by_pointer",
    "settle",
    "theirs",
    "yours",
]

# `plait_client.command` runs once per file in git: importing a part must not import the rest.
_NAMES: Final = {
    "plait_client.batch": ("Batch", "BatchConflict"),
    "plait_client.changes": ("Change",),
    "plait_client.client": ("AsyncPlait", "Entry", "Rules", "Server", "Surroundings"),
    "plait_client.conflict": ("Choice", "Facet", "Field", "MergeConflict", "Value"),
    "plait_client.document": ("Document",),
    "plait_client.replica.edit": ("Edit",),
    "plait_client.errors": (
        "BaseUnknown",
        "Compacted",
        "DeadlineExceeded",
        "Deleted",
        "Forbidden",
        "InvalidPatch",
        "Locked",
        "NotFound",
        "OutboxFull",
        "OutboxUnusable",
        "PlaitError",
        "PreconditionFailed",
        "RateLimited",
        "Refused",
        "RetryQuotaSpent",
        "StaleFence",
        "TestFailed",
        "TransportError",
    ),
    "plait_client.events": ("Counters", "Retrying", "Settled"),
    "plait_client.history": ("Label", "Leaf", "Revision", "Version"),
    "plait_client.lease": ("Lease", "Lock"),
    "plait_client.operation": ("Operation",),
    "plait_client.saving.outbox": ("Outbox",),
    "plait_client.prompt.prompt": ("Prompt", "ask", "settle"),
    "plait_client.resolvers": ("Resolver", "add", "both", "by_pointer", "theirs", "yours"),
    "plait_client.wire.retry": ("Retry",),
    "plait_client.saved": ("Missed", "Saved"),
    "plait_client.sync": ("Plait",),
    "plait_client.unsaved": ("UnsavedEdit",),
    "plait_merge": ("ABSENT",),
}
_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
