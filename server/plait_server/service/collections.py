"""The settings of collections: the newest of each in memory, all of them in the store."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from msgspec import json

from plait_server import errors
from plait_server.service.limits import ServiceLimits
from plait_server.service.request import Caller, IfMatch
from plait_server.service.rules import DEFAULT, CollectionSettings, Rules, read_rules
from plait_server.store import Address, CollectionRecord, Store
from plait_server.wire import encode

_decoder = json.Decoder(CollectionSettings)


class Collections:
    """What holds in each collection. Open it with `Collections.open`."""

    def __init__(self, store: Store, limits: ServiceLimits, clock: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        # What was accepted once is not refused again because a limit was lowered.
        self._stored = replace(limits, schema_bytes_max=2**62)
        self._clock = clock
        self._newest: dict[tuple[str, str], Rules] = {}
        self._count: Counter[str] = Counter()
        self._putting = asyncio.Lock()

    @classmethod
    async def open(cls, store: Store, limits: ServiceLimits, clock: Callable[[], float]) -> "Collections":
        """Read the newest settings of all collections. Raises StoreRefused where some cannot be read."""
        collections = cls(store, limits, clock)
        for record in await store.collections():
            try:
                rules = await asyncio.to_thread(collections._read, record)
            except (errors.Invalid, ValueError) as error:
                raise errors.StoreRefused(
                    f"The settings of the collection {record.name} cannot be used any more: {error}"
                ) from error
            collections._hold(record.tenant, record.name, rules)
        return collections

    def of(self, tenant: str, name: str) -> Rules:
        """Give what holds in a collection now. Cost: one look-up."""
        return self._newest.get((tenant, name), DEFAULT)

    def with_retention(self) -> list[tuple[str, str]]:
        """List tenant and name of the collections that do not keep all of history."""
        return [key for key, rules in self._newest.items() if rules.retention is not None]

    async def at(self, address: Address, revision: int) -> Rules:
        """Give what held from a revision of the settings on. Raises LookupError where it cannot be given."""
        return await self._of_revision(address.tenant, address.collection, revision)

    async def read(self, caller: Caller, name: str, revision: int | None = None) -> Rules:
        """Give the settings of a collection, or earlier ones. Raises NotFound."""
        if revision is None:
            return self.of(caller.tenant, name)
        try:
            return await self._of_revision(caller.tenant, name, revision)
        except LookupError as error:
            raise errors.NotFound(f"There is no revision {revision} of this collection.") from error

    async def put(
        self, caller: Caller, name: str, settings: CollectionSettings, condition: IfMatch | None
    ) -> Rules:
        """Set what holds from now on; the same settings again are no new revision.

        Only where the settings are at a revision that `condition` names; None: where there are none yet.
        Raises PreconditionFailed, InvalidValue and TooLarge.
        """
        async with self._putting:
            before = self.of(caller.tenant, name)
            _check_condition(condition, before)
            if before.revision and encode(settings) == encode(before.settings):
                return before
            self._check_room(caller.tenant, before)
            at = int(self._clock() * 1000)
            rules = await asyncio.to_thread(
                read_rules, settings, before.revision + 1, caller.author, at, self._limits
            )
            record = CollectionRecord(
                caller.tenant, name, rules.revision, encode(settings), caller.author, at
            )
            if not await self._store.put_collection(record):
                # Another process was faster, or an earlier one of ours was written though nobody knew.
                await self._catch_up(caller.tenant, name, rules.revision)
                raise _moved(self.of(caller.tenant, name))
            self._hold(caller.tenant, name, rules)
            return rules

    def _check_room(self, tenant: str, before: Rules) -> None:
        most = self._limits.collections_max
        if not before.revision and self._count[tenant] >= most:
            members = {"limit": "collections", "maximum": most}
            raise errors.TooLarge(f"There are settings of {most} collections already.", members)

    async def _catch_up(self, tenant: str, name: str, revision: int) -> None:
        while (record := await self._store.collection(tenant, name, revision)) is not None:
            self._hold(tenant, name, await asyncio.to_thread(self._read, record))
            revision += 1

    async def _of_revision(self, tenant: str, name: str, revision: int) -> Rules:
        newest = self.of(tenant, name)
        if revision == newest.revision:
            return newest
        if revision == 0:
            return DEFAULT
        record = await self._store.collection(tenant, name, revision)
        if record is None:
            raise LookupError(revision)
        try:
            return await asyncio.to_thread(self._read, record)
        except errors.Invalid as error:
            raise LookupError(revision) from error

    def _read(self, record: CollectionRecord) -> Rules:
        return read_rules(_decoder.decode(record.body), record.n, record.author, record.at, self._stored)

    def _hold(self, tenant: str, name: str, rules: Rules) -> None:
        if (tenant, name) not in self._newest:
            self._count[tenant] += 1
        self._newest[tenant, name] = rules


def _check_condition(condition: IfMatch | None, rules: Rules) -> None:
    if condition is None:
        if rules.revision:
            raise _moved(rules)
    elif condition.weak and not condition.revisions:
        members = {"head_revision": rules.revision, "weak_etag": True}
        raise errors.PreconditionFailed("A weak entity tag never matches.", members)
    elif rules.revision not in condition.revisions and not (condition.any and rules.revision):
        raise _moved(rules)


def _moved(rules: Rules) -> errors.PreconditionFailed:
    return errors.PreconditionFailed(
        f"The settings of this collection are at revision {rules.revision}.",
        {"head_revision": rules.revision},
    )
