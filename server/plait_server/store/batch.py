"""Writing a batch of commits in one SQLite transaction, as one plain function on the database's thread.

Nearly always every commit of a batch holds, so the batch is written together, a few statements per table:
each gives the interpreter away to the event loop and has to get it back, which can cost more than a row.
Where the number of changed rows says that one did not hold, it is rolled back and written again unit by
unit, each in a savepoint.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain as joined
from itertools import groupby

from plait_server.store import statements as sql
from plait_server.store.chain import find_revisions, read_revisions
from plait_server.store.operations import operation_row
from plait_server.store.record import (
    Address,
    AlreadyDone,
    AlreadySettled,
    Commit,
    CommitResult,
    Committed,
    ConflictRecord,
    FenceStale,
    HeadMoved,
    Hold,
    KeyRecord,
    KeyTaken,
    OperationDone,
    RevisionRecord,
)

Row = tuple[object, ...]

ROWS_AT_ONCE_MAX = 16
ROWS_AT_ONCE_MIN = 4
"""Fewer heads are moved one by one: a join costs as much as some rows."""
UNWEIGHED_MAX = 10_000
KNOWN_MAX = 10_000
_COMMITTED_WITHOUT_REVISION = Committed(0)


class CommitFailed(Exception):
    """COMMIT itself failed: whether the batch is durable is not known. The driver's error is the cause."""

    def __init__(self, results: list[CommitResult]) -> None:
        super().__init__("COMMIT failed")
        self.results = results


class BatchWriter:
    """Write batches over one connection, which nobody else writes on."""

    def __init__(
        self, connection: sqlite3.Connection, conflicts_open_max: int, conflicts_open_bytes_max: int
    ) -> None:
        self._connection = connection
        self._conflicts_open_max = conflicts_open_max
        self._conflicts_open_bytes_max = conflicts_open_bytes_max
        # The bytes of conflicts each document got since its conflicts were last weighed.
        self._unweighed: dict[Address, int] = {}
        # The newest revision of documents written lately, and its seq. A revision has the same one for ever:
        # what is known here may be old, never wrong.
        self._known: dict[Address, tuple[int, int]] = {}

    def write(self, batch: Sequence[Commit]) -> list[CommitResult]:
        """Write `batch` and answer for each. Raises sqlite3.Error (nothing written) or CommitFailed."""
        connection = self._connection
        try:
            connection.execute(sql.BEGIN)
            results = self._together(batch)
            if results is None:
                self._roll_back()
                connection.execute(sql.BEGIN)
                results = self._each(batch)
        except BaseException:
            self._roll_back()
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise CommitFailed(results) from error
        return results

    def _roll_back(self) -> None:
        self._known.clear()
        self._unweighed.clear()
        if self._connection.in_transaction:
            # SQLite may have rolled back by itself; what matters is that no transaction stays open.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _together(self, batch: Sequence[Commit]) -> list[CommitResult] | None:
        """Write a batch in which every commit holds; None at the first sign that one does not."""
        chains: dict[Address, _Chain] = {}
        revisions: list[Row] = []
        keys: list[Row] = []
        conflicts: list[Row] = []
        operations: list[Row] = []
        results: list[CommitResult] = []
        seq = self._last_seq()
        for commit in batch:
            address, revision = commit.address, commit.revision
            chain = chains.get(address) or self._chain(commit)
            if chain is None or chain.last != commit.head or commit.settles is not None:
                return None
            if commit.held and self._stale_fence(address, commit.held) is not None:
                return None
            chains[address] = chain
            if revision is None:
                results.append(_COMMITTED_WITHOUT_REVISION)
            else:
                seq += 1
                revisions.append(chain.append(address, revision, seq))
                results.append(Committed(seq))
            if commit.key is not None:
                keys.append(_key_row(address.tenant, commit.key))
            if commit.conflict is not None:
                conflicts.append(_conflict_row(address, commit.conflict))
            if commit.operation is not None:
                operations.append(operation_row(address.tenant, commit.operation))
        if not self._move_heads(chains):
            return None
        self._write(sql.INSERT_REVISION, revisions)
        if keys:
            # What was free for the first of them was free for all.
            now = min(commit.key.stored for commit in batch if commit.key is not None)
            if self._write(sql.INSERT_KEY, keys, now) != len(keys):
                return None
        many = self._connection.executemany
        if conflicts:
            many(sql.INSERT_CONFLICT, conflicts)
            self._drop_oldest_conflicts([commit for commit in batch if commit.conflict is not None])
        if operations and many(sql.FINISH_OPERATION, operations).rowcount != len(operations):
            return None
        self._note(chains)
        return results

    def _write(self, statement: str, rows: Sequence[Row], *more: object) -> int:
        """Run a statement for rows, many at once; answer how many it changed. `more` goes after each."""
        changed = 0
        for start in range(0, len(rows), ROWS_AT_ONCE_MAX):
            some = rows[start : start + ROWS_AT_ONCE_MAX]
            prepared = sql.of_rows(statement, len(some[0]), len(some))
            changed += self._connection.execute(prepared, (*joined.from_iterable(some), *more)).rowcount
        return changed

    def _chain(self, commit: Commit) -> "_Chain | None":
        """Begin with what a batch does to a document; None where its head is another one."""
        known = self._known.get(commit.address)
        if commit.head and (known is None or known[0] != commit.head):
            known = self._connection.execute(sql.HEAD, commit.address).fetchone()
            if known is None or known[0] != commit.head:
                return None
        return _Chain(commit.head, known[1] if commit.head and known else None)

    def _note(self, chains: dict[Address, "_Chain"]) -> None:
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        for address, chain in chains.items():
            if chain.latest is not None:
                self._known[address] = chain.last, chain.latest

    def _move_heads(self, chains: dict[Address, "_Chain"]) -> bool:
        """Compare-and-set the head of every document of the batch, once each."""
        moved = [
            (chain.last, chain.latest, chain.deleted, chain.updated, *address, chain.first)
            for address, chain in chains.items()
            if chain.first != chain.last and chain.first
        ]
        if self._move(moved) != len(moved):
            return False
        return len(moved) == len(chains) or all(
            self._create_or_compare(address, chain)
            for address, chain in chains.items()
            if chain.first == chain.last or not chain.first
        )

    def _move(self, moved: Sequence[Row]) -> int:
        if 0 < len(moved) < ROWS_AT_ONCE_MIN:
            return self._connection.executemany(sql.MOVE_HEAD, moved).rowcount
        return self._write(sql.MOVE_HEADS, moved)

    def _create_or_compare(self, address: Address, chain: "_Chain") -> bool:
        if chain.first == chain.last:
            return self._head(address) == chain.first
        row = (chain.last, chain.latest, chain.deleted, chain.updated, chain.created, *address)
        return self._connection.execute(sql.CREATE_DOCUMENT, row).rowcount == 1

    def _each(self, batch: Sequence[Commit]) -> list[CommitResult]:
        """Write what holds of a batch, unit by unit."""
        refused: set[Address] = set()
        results: list[CommitResult] = []
        for unit in _units(batch):
            outcome = self._unit(unit, refused)
            for commit, result in zip(unit, outcome, strict=True):
                if commit.revision is not None and not isinstance(result, Committed):
                    refused.add(commit.address)
            results += outcome
        return results

    def _unit(self, unit: Sequence[Commit], refused: set[Address]) -> list[CommitResult]:
        """Write a unit, or nothing of it: then the one that does not hold says why."""
        if any(commit.address in refused for commit in unit):
            return [HeadMoved()] * len(unit)
        results: list[CommitResult] = []
        self._connection.execute("SAVEPOINT unit")
        for commit in unit:
            result = self._attempt(commit)
            if not isinstance(result, Committed):
                self._connection.execute("ROLLBACK TO unit")
                for each in unit:
                    self._known.pop(each.address, None)
                before, after = len(results), len(unit) - len(results) - 1
                results = [*[HeadMoved()] * before, result, *[HeadMoved()] * after]
                break
            results.append(result)
        self._connection.execute("RELEASE unit")
        return results

    def _attempt(self, commit: Commit) -> CommitResult:
        address, revision, execute = commit.address, commit.revision, self._connection.execute
        if (operation := commit.operation) is not None and not execute(
            sql.FINISH_OPERATION, operation_row(address.tenant, operation)
        ).rowcount:
            return AlreadyDone(self._operation(address.tenant, operation) or b"")
        if (key := commit.key) is not None and not self._write(
            sql.INSERT_KEY, [_key_row(address.tenant, key)], key.stored
        ):
            return KeyTaken(self._key(address.tenant, key))
        chain = self._chain(commit)
        if chain is None:
            return HeadMoved()
        if (lock := self._stale_fence(address, commit.held)) is not None:
            return FenceStale(lock)
        result = _COMMITTED_WITHOUT_REVISION
        if revision is not None:
            result = Committed(self._last_seq() + 1)
            self._write(sql.INSERT_REVISION, [chain.append(address, revision, result.seq)])
        if not self._move_heads({address: chain}):
            return HeadMoved()
        if commit.settles is not None:
            settled = (commit.at, chain.last, *address, commit.settles)
            if execute(sql.SETTLE_CONFLICT, settled).rowcount != 1:
                return self._already_settled(address, commit.settles)
        if commit.conflict is not None:
            execute(sql.INSERT_CONFLICT, _conflict_row(address, commit.conflict))
            self._drop_oldest_conflicts([commit])
        self._note({address: chain})
        return result

    def _stale_fence(self, address: Address, held: Sequence[Hold]) -> str | None:
        """Name the first lease that does not stand with its fence."""
        for hold in held:
            row = (*address, hold.lock, hold.fence)
            if self._connection.execute(sql.STANDING_LOCK, row).fetchone() is None:
                return hold.lock
        return None

    def _drop_oldest_conflicts(self, commits: Sequence[Commit]) -> None:
        """Make room for the conflicts of `commits`, which are written."""
        addresses = {commit.address for commit in commits}
        rows = [(*address, self._conflicts_open_max) for address in addresses]
        self._connection.executemany(sql.DROP_OLDEST_CONFLICTS, rows)
        rows = [(*address, self._conflicts_open_bytes_max) for address in self._worth_weighing(commits)]
        self._connection.executemany(sql.DROP_HEAVY_CONFLICTS, rows)

    def _worth_weighing(self, commits: Sequence[Commit]) -> set[Address]:
        """Say which documents may have too heavy conflicts now.

        To weigh a thousand takes 2 ms: it is done at first, and again after each sixteenth of what may be.
        """
        if len(self._unweighed) > UNWEIGHED_MAX:
            self._unweighed.clear()
        due: set[Address] = set()
        for address, conflict in ((commit.address, commit.conflict) for commit in commits):
            unweighed = self._unweighed.get(address, self._conflicts_open_bytes_max)
            self._unweighed[address] = unweighed + (conflict.weight if conflict else 0)
            if self._unweighed[address] > self._conflicts_open_bytes_max // 16:
                due.add(address)
        self._unweighed |= dict.fromkeys(due, 0)
        return due

    def _last_seq(self) -> int:
        last: int = self._connection.execute(sql.LAST_SEQ).fetchone()[0]
        return last

    def _head(self, address: Address) -> int:
        row = self._connection.execute(sql.HEAD, address).fetchone()
        return row[0] if row else 0

    def _key(self, tenant: str, key: KeyRecord) -> KeyRecord:
        return KeyRecord(*self._connection.execute(sql.KEY, (tenant, key.caller, key.key)).fetchone())

    def _operation(self, tenant: str, operation: OperationDone) -> bytes | None:
        row = self._connection.execute(sql.OPERATION_ANSWER, (tenant, operation.id)).fetchone()
        answer: bytes | None = row[0] if row else None
        return answer

    def _already_settled(self, address: Address, conflict: str) -> AlreadySettled:
        row = self._connection.execute(sql.CONFLICT, (*address, conflict)).fetchone()
        return AlreadySettled(ConflictRecord(*row).resolved_revision if row else None)

    def stands(self, batch: Sequence[Commit], results: Sequence[CommitResult]) -> bool:
        """Say whether a batch whose COMMIT failed is there after all: all of it is, or nothing."""
        for commit, result in zip(batch, results, strict=True):
            if isinstance(result, Committed) and (witness := self._witness(commit)) is not None:
                return witness
        return True

    def _witness(self, commit: Commit) -> bool | None:
        address, execute = commit.address, self._connection.execute
        if (revision := commit.revision) is not None:
            found = find_revisions(self._connection, address, revision.n - 1, revision.n)
            return any(_is_same(stored, revision) for stored in read_revisions(self._connection, found))
        if commit.key is not None:
            row = execute(sql.KEY, (address.tenant, commit.key.caller, commit.key.key)).fetchone()
            return row is not None and KeyRecord(*row).answer == commit.key.answer
        if commit.conflict is not None:
            return execute(sql.CONFLICT, (*address, commit.conflict.id)).fetchone() is not None
        if commit.settles is not None:
            row = execute(sql.CONFLICT, (*address, commit.settles)).fetchone()
            return row is not None and ConflictRecord(*row).resolved == commit.at
        if commit.operation is not None:
            return self._operation(address.tenant, commit.operation) == commit.operation.answer
        return None


class _Chain:
    """What a batch does to one document's head."""

    __slots__ = ("created", "deleted", "first", "last", "latest", "updated")

    def __init__(self, head: int, latest: int | None) -> None:
        """`latest` is the seq of the head."""
        self.first = self.last = head
        self.latest = latest
        self.created = self.updated = 0
        self.deleted = False

    def append(self, address: Address, revision: RevisionRecord, seq: int) -> Row:
        """Append a revision, and give its row."""
        if self.first == self.last:
            self.created = revision.at
        previous = self.latest
        self.last = revision.n
        self.latest = seq
        self.updated = revision.at
        self.deleted = revision.kind == "delete"
        return (
            seq,
            previous,
            *address,
            revision.n,
            revision.kind,
            revision.patch,
            revision.base,
            revision.submitted,
            revision.author,
            revision.caller,
            revision.key,
            revision.at,
            revision.message,
            revision.trace,
            revision.policy,
        )


def _units(batch: Sequence[Commit]) -> Iterator[list[Commit]]:
    for unit, commits in groupby(batch, lambda commit: commit.unit):
        if unit:
            yield list(commits)
        else:
            for commit in commits:
                yield [commit]


def _key_row(tenant: str, key: KeyRecord) -> Row:
    return (tenant, key.caller, key.key, key.fingerprint, key.answer, key.expires)


def _conflict_row(address: Address, conflict: ConflictRecord) -> Row:
    return (
        *address,
        conflict.id,
        conflict.author,
        conflict.base,
        conflict.head,
        conflict.body,
        conflict.opened,
        conflict.expires,
    )


def _is_same(stored: RevisionRecord, revision: RevisionRecord) -> bool:
    return (stored.at, stored.caller, stored.key, stored.patch) == (
        revision.at,
        revision.caller,
        revision.key,
        revision.patch,
    )
