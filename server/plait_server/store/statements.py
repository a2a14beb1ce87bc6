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
RANGE = "SELECT head, oldest FROM documents WHERE tenant = ? AND collection = ? AND id = ?"
INSERT_REVISION = """
INSERT INTO revisions (seq, previous, tenant, collection, document, n, kind, patch, base, submitted, author,
                       caller, key, at, message, trace, policy)
VALUES ROWS
"""
INSERT_KEY = """
INSERT INTO idempotency (tenant, caller, key, fingerprint, answer, expires) VALUES ROWS
ON CONFLICT (key, caller, tenant) DO UPDATE
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
NOTE_TIME = "UPDATE store SET time = ?1 WHERE time < ?1"
NEXT_FENCE = "UPDATE store SET fence = fence + 1 RETURNING fence"
INSERT_LOCK = """
INSERT INTO locks (
    tenant, collection, document, id, pointer, revision, holder, caller, ttl_ms, expires, fence
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    pointer = excluded.pointer, revision = excluded.revision, holder = excluded.holder,
    caller = excluded.caller, ttl_ms = excluded.ttl_ms, expires = excluded.expires, fence = excluded.fence
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
SELECT tenant, collection, document, id, pointer, revision, holder, caller, ttl_ms, expires, fence
FROM locks ORDER BY fence
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
SELECT head, deleted, created, updated, oldest FROM documents WHERE tenant = ? AND collection = ? AND id = ?
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
# From a document's head back to the first revision met that was made at ?4 or before.
MOMENT = """
WITH RECURSIVE chain (previous, n, at) AS (
    SELECT previous, n, at FROM revisions WHERE seq = (
        SELECT latest FROM documents WHERE tenant = ?1 AND collection = ?2 AND id = ?3)
    UNION ALL
    SELECT r.previous, r.n, r.at FROM chain JOIN revisions AS r ON r.seq = chain.previous WHERE chain.at > ?4
)
SELECT n FROM chain WHERE at <= ?4
"""
# Revisions by their seqs, a JSON array, in its order: a cross join goes through its left side as it comes.
REVISIONS = """
SELECT n, kind, patch, base, submitted, author, caller, revisions.key, at, message, trace, policy, seq
FROM json_each(?) AS wanted CROSS JOIN revisions ON seq = wanted.value
"""
# Beside each revision whether it is the oldest kept of its document, or a labelled one before that: then
# what it leads on from is gone.
CHANGES = """
SELECT collection, document, n, kind, patch, base, submitted, author, caller, key, at, message, trace, policy,
       seq, EXISTS (
           SELECT 1 FROM documents AS d WHERE d.oldest > 1 AND d.oldest >= r.n
           AND (d.tenant, d.collection, d.id) = (r.tenant, r.collection, r.document))
FROM revisions AS r WHERE seq > ? AND tenant = ? ORDER BY seq LIMIT ?
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
DELETE FROM idempotency WHERE (key, caller, tenant) IN (
    SELECT key, caller, tenant FROM idempotency WHERE expires <= ? LIMIT ?)
"""
PRUNE_CONFLICTS = """
DELETE FROM conflicts WHERE rowid IN (SELECT rowid FROM conflicts WHERE expires <= ? LIMIT ?)
"""
TRIM_CONFLICTS = """
DELETE FROM conflicts WHERE rowid IN (
    SELECT rowid FROM conflicts ORDER BY expires DESC LIMIT ? OFFSET ?)
"""

SNAPSHOT_OF = "SELECT value FROM snapshots WHERE tenant = ? AND collection = ? AND document = ? AND n = ?"
SNAPSHOTS_BETWEEN = """
SELECT n FROM snapshots WHERE tenant = ? AND collection = ? AND document = ? AND n BETWEEN ? AND ?
"""
# How far the history of each document reaches; the time of its oldest revision, which has a snapshot unless
# it is a tombstone; and whether there are labels on revisions before that.
EXTENTS = """
SELECT id, head, oldest,
       CASE oldest WHEN 1 THEN created ELSE (
           SELECT r.at FROM snapshots AS s JOIN revisions AS r ON r.seq = s.seq
           WHERE (s.tenant, s.collection, s.document, s.n) = (d.tenant, d.collection, d.id, d.oldest)) END,
       oldest > 1 AND EXISTS (
           SELECT 1 FROM labels AS l
           WHERE (l.tenant, l.collection, l.document) = (d.tenant, d.collection, d.id) AND l.n < d.oldest)
FROM documents AS d WHERE tenant = ? AND collection = ?
"""
EXTENT = EXTENTS + "AND id = ?"
EXTENTS_AFTER = EXTENTS + "AND id > ? ORDER BY id LIMIT ?"
MOMENTS = "SELECT n, at FROM json_each(?) AS wanted CROSS JOIN revisions ON seq = wanted.value"
MOVE_OLDEST = """
UPDATE documents SET oldest = ?1
WHERE tenant = ?2 AND collection = ?3 AND id = ?4 AND oldest = ?5 AND head >= ?1
"""
KIND = "SELECT kind FROM revisions WHERE seq = ?"
# The revisions before one, newest first.
BEFORE = """
WITH RECURSIVE chain (seq, previous, n) AS (
    SELECT seq, previous, n FROM revisions WHERE seq = ?
    UNION ALL
    SELECT r.seq, r.previous, r.n FROM chain JOIN revisions AS r ON r.seq = chain.previous
)
SELECT seq, n FROM chain LIMIT -1 OFFSET 1
"""
DROP_REVISIONS = "DELETE FROM revisions WHERE seq IN (SELECT value FROM json_each(?))"
DROP_SNAPSHOTS = """
DELETE FROM snapshots WHERE tenant = ? AND collection = ? AND document = ? AND n < ?
AND n NOT IN (SELECT value FROM json_each(?))
"""
RELINK = "UPDATE revisions SET previous = ?1 WHERE seq = ?2 AND previous IS NOT ?1"

LABELS = """
SELECT name, n, author, at FROM labels WHERE tenant = ? AND collection = ? AND document = ? ORDER BY name
"""
LABEL = (
    "SELECT name, n, author, at FROM labels WHERE tenant = ? AND collection = ? AND document = ? AND name = ?"
)
COUNT_LABELS = "SELECT count(*) FROM labels WHERE tenant = ? AND collection = ? AND document = ?"
LABELLED_BEFORE = "SELECT n FROM labels WHERE tenant = ? AND collection = ? AND document = ? AND n < ?"
PUT_LABEL = """
INSERT INTO labels (tenant, collection, document, name, n, author, at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET n = excluded.n, author = excluded.author, at = excluded.at
"""
DROP_LABEL = "DELETE FROM labels WHERE tenant = ? AND collection = ? AND document = ? AND name = ?"
DROP_LABELS_BEFORE = "DELETE FROM labels WHERE tenant = ? AND collection = ? AND document = ? AND n < ?"


@cache
def of_rows(statement: str, columns: int, rows: int) -> str:
    """Give a statement for so many rows of so many columns."""
    row = f"({', '.join('?' * columns)})"
    return statement.replace("ROWS", ", ".join([row] * rows))
