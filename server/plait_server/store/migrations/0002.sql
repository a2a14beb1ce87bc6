-- Revisions in the order they were written, each naming the one before it, instead of an index over them.
-- Every store has had one tenant so far, so seq, which counted per tenant, stays as it was.

DROP INDEX revisions_by_seq;
ALTER TABLE documents RENAME TO documents_1;
ALTER TABLE revisions RENAME TO revisions_1;
ALTER TABLE snapshots RENAME TO snapshots_1;

CREATE TABLE documents (
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    head INTEGER NOT NULL,          -- the newest revision
    latest INTEGER NOT NULL,        -- its seq
    deleted INTEGER NOT NULL,       -- 1 when the head is a tombstone
    created INTEGER NOT NULL,       -- milliseconds since 1970, like every time here
    updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection, id)
) WITHOUT ROWID;

CREATE TABLE revisions (
    seq INTEGER PRIMARY KEY,        -- place among all revisions
    previous INTEGER,               -- seq of revision n - 1 of the document; null for the first
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    document TEXT NOT NULL,
    n INTEGER NOT NULL,             -- 1, 2, 3 ... without gaps
    -- Not IN, for which SQLite would build a table of its own at each insertion.
    kind TEXT NOT NULL CHECK (kind = 'edit' OR kind = 'create' OR kind = 'delete'),
    patch BLOB NOT NULL,            -- as committed: leads from revision n - 1 to n
    base INTEGER,                   -- what the caller had seen
    submitted BLOB,                 -- the patch as submitted, where it differs
    author TEXT NOT NULL,
    caller TEXT NOT NULL,
    key TEXT,                       -- the idempotency key
    at INTEGER NOT NULL,
    message TEXT,
    trace TEXT,
    policy INTEGER                  -- version of the merge policy; null is the default policy
);

CREATE TABLE snapshots (
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    document TEXT NOT NULL,
    n INTEGER NOT NULL,
    seq INTEGER NOT NULL,           -- of revision n
    value BLOB NOT NULL,
    PRIMARY KEY (tenant, collection, document, n)
);

INSERT INTO revisions
SELECT seq, lag(seq) OVER (PARTITION BY tenant, collection, document ORDER BY n), tenant, collection, document, n,
       kind, patch, base, submitted, author, caller, key, at, message, trace, policy
FROM revisions_1 ORDER BY seq;

INSERT INTO documents
SELECT d.tenant, d.collection, d.id, d.head, r.seq, d.deleted, d.created, d.updated
FROM documents_1 AS d JOIN revisions_1 AS r
ON (r.tenant, r.collection, r.document, r.n) = (d.tenant, d.collection, d.id, d.head);

INSERT INTO snapshots
SELECT s.tenant, s.collection, s.document, s.n, r.seq, s.value
FROM snapshots_1 AS s JOIN revisions_1 AS r
ON (r.tenant, r.collection, r.document, r.n) = (s.tenant, s.collection, s.document, s.n);

DROP TABLE documents_1;
DROP TABLE revisions_1;
DROP TABLE snapshots_1;
