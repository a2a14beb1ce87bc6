"""Histories with values that tell every revision, and what must be true of each that is kept of them."""

import json
from typing import Any

from plait_merge import ABSENT, Absent, Json, apply
from plait_server.store import Address, Commit, Floor, Store
from server.store.records import HERE, NOW, revision

Values = list[Json | Absent]
"""The value at each revision; at 0 there is none."""

DELETION = b'[{"op":"remove","path":""}]'


def grow(values: Values, count: int, address: Address = HERE) -> list[Commit]:
    """Make the next commits of a history of edits; the first creates it, or revives it."""
    commits = []
    for _ in range(count):
        n, last = len(values), values[-1]
        if isinstance(last, Absent):
            commits.append(_commit(values, address, "create", _whole({"n": n, "kept": n})))
        else:
            commits.append(_commit(values, address, "edit", [{"op": "replace", "path": "/n", "value": n}]))
    return commits


def delete(values: Values, address: Address = HERE) -> Commit:
    """Make the commit that deletes a document."""
    return _commit(values, address, "delete", json.loads(DELETION))


def _whole(value: Json) -> list[dict[str, Any]]:
    return [{"op": "add", "path": "", "value": value}]


def _commit(values: Values, address: Address, kind: str, patch: list[dict[str, Any]]) -> Commit:
    head = len(values) - 1
    values.append(apply(values[head], patch))
    return Commit(address, head, NOW, revision(head + 1, json.dumps(patch).encode(), kind, at=NOW + head))


def body(value: Json | Absent) -> bytes | None:
    """Encode a value; None where there is none."""
    return None if isinstance(value, Absent) else json.dumps(value).encode()


async def snapshot(store: Store, values: Values, n: int, address: Address = HERE) -> None:
    """Keep a revision whole, if there is something to keep."""
    if (value := body(values[n])) is not None:
        await store.snapshot(address, n, value)


async def compact(
    store: Store,
    values: Values,
    upto: int,
    *,
    rows_max: int = 500,
    spare_labelled: bool = True,
    address: Address = HERE,
) -> Floor | None:
    """Take one step of compaction, as the service does."""
    floor = await store.floor(address, upto=upto, young=None, rows_max=rows_max)
    if floor is not None:
        value = None if floor.whole else body(values[floor.n])
        assert await store.compact(address, floor, value, spare_labelled=spare_labelled)
    return floor


async def check(store: Store, values: Values, oldest: int, address: Address = HERE) -> None:
    """Check a history from its oldest revision on, and what is left of it before.

    Every revision can be loaded and has the value it had, the head equals the fold of the patches from the
    oldest on, lists have no gap, labelled revisions before are readable, no other one is there.
    """
    head = len(values) - 1
    extent = await store.extent(address)
    assert extent is not None
    assert (extent.head, extent.oldest) == (head, oldest)
    labelled = {label.n for label in await store.labels(address)}
    kept = sorted({n for n in labelled if n < oldest} | set(range(oldest, head + 1)))
    listed = await store.revisions(address, above=0, upto=head, limit=head + 1)
    assert [each.n for each in listed] == kept
    backwards = await store.revisions(address, above=0, upto=head, limit=head + 1, newest_first=True)
    assert [each.n for each in backwards] == kept[::-1]
    value = values[oldest]
    for record in listed:
        if record.n > oldest:
            value = apply(value, json.loads(record.patch))
            assert value == values[record.n]
    for n in range(1, head + 1):
        assert await value_at(store, n, address) == (values[n] if n in kept else None), n


async def value_at(store: Store, n: int | None = None, address: Address = HERE) -> Json | Absent:
    """Work a value out from what is loaded; None where it is gone."""
    stored = await store.load(address, n)
    assert stored is not None
    if not stored.revisions:
        return None
    value: Json | Absent = ABSENT
    for record in stored.revisions:
        if stored.snapshot is not None and record.n == stored.snapshot.n:
            value = json.loads(stored.snapshot.value)
        elif record.kind == "delete":
            value = ABSENT
        else:
            value = apply(value, json.loads(record.patch))
    assert stored.revisions[-1].n == (stored.head if n is None else n)
    return value
