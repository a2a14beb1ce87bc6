"""Every statement the SQLite store runs, by name.

Where one says ROWS it takes many rows at once: see `of_rows`.
"""

from functools import cache

BEGIN = "BEGIN IMMEDIATE"

INSERT_STORE = "INSERT INTO store (one, epoch, schema_version) VALUES (1, ?, ?)"
CREATE_DOCUMENT = """
INSERT INTO documents (head, latest, deleted, updated, created, tenant, collection, id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
MOVE_HEAD = """
UPDATE documents SET head = ?, latest = ?, deleted = ?, updated = ?
WHERE tenant = ? AND collection = ? AND id = ? AND head = ?
"""
MOVE_HEADS = """
UPDATE documents SET head = column1, latest = column2, deleted = column3, updated = column4 FROM (VALUES ROWS)
WHERE tenant = column5 AND collection = column6 AND id = column7 AND head = column8
"""
HEAD = "SELECT head, latest FROM documents WHERE tenant = ? AND collection = ? AND id = ?"
INSERT_REVISION = """
INSERT INTO revisions (seq, previous, tenant, collection, document, n, kind, patch, base, submitted, author,
                       caller, key, at, message, trace, policy)
VALUES ROWS
"""
INSERT_KEY = """
INSERT INTO idempotency (tenant, caller, key, fingerprint, answer, expires) VALUES ROWS
ON CONFLICT (tenant, caller, key) DO UPDATE
SET fingerprint = excluded.fingerprint, answer = excluded.answer, expires = excluded.expires
WHERE idempotency.expires <= ?
"""
KEY = """
SELECT caller, key, fingerprint, answer, 0, expires FROM idempotency
WHERE tenant = ? AND caller = ? AND key = ?
"""
INSERT_CONFLICT = """
INSERT INTO conflicts (tenant, collection, document, id, author, base, head, body, opened, expires)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
DROP_OLDEST_CONFLICTS = """
DELETE FROM conflicts WHERE tenant = ?1 AND collection = ?2 AND document = ?3 AND id IN (
    SELECT id FROM conflicts WHERE tenant = ?1 AND collection = ?2 AND document = ?3
    ORDER BY id DESC LIMIT -1 OFFSET ?4)
"""
DROP_HEAVY_CONFLICTS = """
DELETE FROM conflicts WHERE tenant = ?1 AND collection = ?2 AND document = ?3 AND id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER newest AS place, sum(length(body)) OVER newest AS bytes
        FROM conflicts WHERE tenant = ?1 AND collection = ?2 AND document = ?3
        WINDOW newest AS (ORDER BY id DESC))
    WHERE bytes > ?4 AND place > 1)
"""
SETTLE_CONFLICT = """
UPDATE conflicts SET resolved = ?, resolved_revision = ?
WHERE tenant = ? AND collection = ? AND document = ? AND id = ? AND resolved IS NULL
"""
STANDING_LOCK = """
SELECT 1 FROM locks WHERE tenant = ? AND collection = ? AND document = ? AND id = ? AND fence = ?
"""
NEXT_FENCE = "UPDATE store SET fence = fence + 1 RETURNING fence"
INSERT_LOCK = """
INSERT INTO locks (
    tenant, collection, document, id, pointer, revision, holder, caller, ttl_ms, expires, fence
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
RENEW_LOCK = """
UPDATE locks SET pointer = ?, revision = ?, ttl_ms = ?, expires = ?
WHERE tenant = ? AND collection = ? AND document = ? AND id = ? AND fence = ?
"""
MOVE_LOCK = """
UPDATE locks SET pointer = ?, revision = ?
WHERE tenant = ? AND collection = ? AND document = ? AND id = ? AND fence = ?
"""
DELETE_LOCK = """
DELETE FROM locks WHERE tenant = ? AND collection = ? AND document = ? AND id = ? AND fence = ?
"""
LOCKS = """
SELECT tenant, collection, document, id, pointer, revision, holder, caller, ttl_ms, expires, fence FROM locks
"""
FINISH_OPERATION = """
UPDATE operations SET answer = ?, done = ?, expires = ?, body = x''
WHERE tenant = ? AND id = ? AND done IS NULL
"""
OPERATION_ANSWER = "SELECT answer FROM operations WHERE tenant = ? AND id = ?"
INSERT_OPERATION = """
INSERT INTO operations (tenant, collection, document, id, caller, author, body, accepted)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
DROP_EXPIRED_OPERATION = "DELETE FROM operations WHERE tenant = ? AND id = ? AND expires <= ?"
OPERATION = """
SELECT tenant, collection, document, id, caller, author, body, accepted, place, done, answer, expires
FROM operations WHERE tenant = ? AND id = ?
"""
WAITING_OPERATIONS = """
SELECT tenant, collection, document, id, caller, author, body, accepted, place, done, answer, expires
FROM operations WHERE done IS NULL AND place > ? ORDER BY place LIMIT ?
"""
PRUNE_OPERATIONS = """
DELETE FROM operations WHERE place IN (SELECT place FROM operations WHERE expires <= ? LIMIT ?)
"""
LAST_SEQ = "SELECT coalesce(max(seq), 0) FROM revisions"
INSERT_SNAPSHOT = "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"

DOCUMENT = """
SELECT head, deleted, created, updated FROM documents WHERE tenant = ? AND collection = ? AND id = ?
"""
SNAPSHOT = """
SELECT n, value FROM snapshots WHERE tenant = ? AND collection = ? AND document = ? AND n <= ?
ORDER BY n DESC LIMIT 1
"""
# The seqs of a document's revisions above ?4 up to ?5, from each to the one before it. It begins at the
# oldest snapshot that is not older than ?5, or else at the head: few are passed over that nobody asked for.
CHAIN = """
WITH RECURSIVE chain (seq, previous, n) AS (
    SELECT seq, previous, n FROM revisions WHERE seq = coalesce(
        (SELECT seq FROM snapshots WHERE tenant = ?1 AND collection = ?2 AND document = ?3 AND n >= ?5
         ORDER BY n LIMIT 1),
        (SELECT latest FROM documents WHERE tenant = ?1 AND collection = ?2 AND id = ?3))
    UNION ALL
    SELECT r.seq, r.previous, r.n FROM chain JOIN revisions AS r ON r.seq = chain.previous WHERE r.n > ?4
)
SELECT seq FROM chain WHERE n BETWEEN ?4 + 1 AND ?5
"""
# Revisions by their seqs, a JSON array, in its order: a cross join goes through its left side as it comes.
REVISIONS = """
SELECT n, kind, patch, base, submitted, author, caller, revisions.key, at, message, trace, policy, seq
FROM json_each(?) AS wanted CROSS JOIN revisions ON seq = wanted.value
"""
CHANGES = """
SELECT collection, document, n, kind, patch, base, submitted, author, caller, key, at, message, trace, policy,
       seq FROM revisions
WHERE seq > ? AND tenant = ? ORDER BY seq LIMIT ?
"""
DOCUMENTS = """
SELECT id, head, created, updated FROM documents
WHERE tenant = ? AND collection = ? AND id > ? AND deleted = 0 ORDER BY id LIMIT ?
"""
CONFLICT = """
SELECT id, author, base, head, body, opened, expires, resolved, resolved_revision FROM conflicts
WHERE tenant = ? AND collection = ? AND document = ? AND id = ?
"""
CONFLICTS = """
SELECT id, author, base, head, body, opened, expires, resolved, resolved_revision FROM conflicts
WHERE tenant = ? AND collection = ? AND document = ? AND (?4 IS NULL OR id < ?4) AND expires > ?5
AND resolved IS NULL ORDER BY id DESC LIMIT ?6
"""
INSERT_COLLECTION = """
INSERT INTO collections (tenant, name, n, body, author, at) SELECT ?1, ?2, ?3, ?4, ?5, ?6
WHERE (SELECT coalesce(max(n), 0) FROM collections WHERE tenant = ?1 AND name = ?2) = ?3 - 1
"""
COLLECTION = (
    "SELECT tenant, name, n, body, author, at FROM collections WHERE tenant = ? AND name = ? AND n = ?"
)
COLLECTIONS = """
SELECT tenant, name, n, body, author, at FROM collections AS newest WHERE n = (
    SELECT max(n) FROM collections AS each WHERE each.tenant = newest.tenant AND each.name = newest.name)
"""
PRUNE_KEYS = """
DELETE FROM idempotency WHERE (tenant, caller, key) IN (
    SELECT tenant, caller, key FROM idempotency WHERE expires <= ? LIMIT ?)
"""
PRUNE_CONFLICTS = """
DELETE FROM conflicts WHERE rowid IN (SELECT rowid FROM conflicts WHERE expires <= ? LIMIT ?)
"""
TRIM_CONFLICTS = """
DELETE FROM conflicts WHERE rowid IN (
    SELECT rowid FROM conflicts ORDER BY expires DESC LIMIT ? OFFSET ?)
"""


@cache
def of_rows(statement: str, columns: int, rows: int) -> str:
    """Give a statement for so many rows of so many columns."""
    row = f"({', '.join('?' * columns)})"
    return statement.replace("ROWS", ", ".join([row] * rows))
