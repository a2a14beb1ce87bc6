"""The service: what the web layer may call. Every function takes the caller first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any as CommittedRevision, Any as Store

from plait_merge.values import Json
from plait_server.service.answer import (
    Answer,
    ConflictView,
    DocumentEntry,
    DocumentView,
    Page,
    Readiness,
    RevisionView,
)
from plait_server.service.limits import ServiceLimits
from plait_server.service.request import Caller, DocumentKey, Edit, IdempotencyKey


class Service:
    limits: ServiceLimits
    epoch: str

    @classmethod
    async def open(
        cls,
        store: Store,
        *,
        limits: ServiceLimits = ServiceLimits(),
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = os.urandom,
        on_committed: Callable[[CommittedRevision], None] | None = None,
    ) -> Service:
        raise NotImplementedError

    async def close(self) -> None:
        """Finish and acknowledge what was taken, then close the store."""
        raise NotImplementedError

    async def edit(self, caller: Caller, document: DocumentKey, edit: Edit) -> Answer:
        raise NotImplementedError

    async def create(self, caller: Caller, collection: str, edit: Edit) -> Answer:
        raise NotImplementedError

    async def read(
        self, caller: Caller, document: DocumentKey, revision: int | None = None
    ) -> DocumentView:
        raise NotImplementedError

    async def list(self, caller: Caller, collection: str, limit: int, cursor: str | None) -> Page[DocumentEntry]:
        raise NotImplementedError

    async def revisions(
        self, caller: Caller, document: DocumentKey, limit: int, cursor: str | None
    ) -> Page[RevisionView]:
        raise NotImplementedError

    async def revision(self, caller: Caller, document: DocumentKey, n: int) -> RevisionView:
        raise NotImplementedError

    async def conflicts(
        self, caller: Caller, document: DocumentKey, limit: int, cursor: str | None
    ) -> Page[ConflictView]:
        raise NotImplementedError

    async def conflict(self, caller: Caller, document: DocumentKey, conflict: str) -> ConflictView:
        raise NotImplementedError

    async def resolve(
        self,
        caller: Caller,
        document: DocumentKey,
        conflict: str,
        *,
        choices: Mapping[str, Json] | None = None,
        patch: Json = None,
        message: str | None = None,
        key: IdempotencyKey | None = None,
        trace: str | None = None,
    ) -> Answer:
        raise NotImplementedError

    def ready(self) -> Readiness:
        raise NotImplementedError
