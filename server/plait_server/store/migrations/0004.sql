-- Labels, leases, queued edits; and documents whose oldest revisions are gone.

ALTER TABLE store RENAME TO store_3;
ALTER TABLE documents RENAME TO documents_3;

CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,            -- random; new after a restore from backup
    schema_version INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0 -- the newest fencing number of a lease; only grows
);

CREATE TABLE documents (
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    head INTEGER NOT NULL,          -- the newest revision
    latest INTEGER NOT NULL,        -- its seq
    oldest INTEGER NOT NULL DEFAULT 1, -- from here on every revision is kept; those before are compacted away
    deleted INTEGER NOT NULL,       -- 1 when the head is a tombstone
    created INTEGER NOT NULL,       -- milliseconds since 1970, like every time here
    updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection, id)
) WITHOUT ROWID;

INSERT INTO store (one, epoch, schema_version) SELECT one, epoch, schema_version FROM store_3;

INSERT INTO documents (tenant, collection, id, head, latest, deleted, created, updated)
SELECT tenant, collection, id, head, latest, deleted, created, updated FROM documents_3;

DROP TABLE store_3;
DROP TABLE documents_3;

-- Names of revisions. A labelled revision stays when those around it are compacted away.
CREATE TABLE labels (
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    document TEXT NOT NULL,
    name TEXT NOT NULL,
    n INTEGER NOT NULL,
    author TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection, document, name)
) WITHOUT ROWID;

-- Leases. A commit that names one holds only while it stands with that fence.
CREATE TABLE locks (
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    document TEXT NOT NULL,
    id TEXT NOT NULL,
    pointer TEXT NOT NULL,          -- where it was at `revision`
    revision INTEGER NOT NULL,
    holder TEXT NOT NULL,
    caller TEXT NOT NULL,
    fence INTEGER NOT NULL,
    ttl_ms INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection, document, id)
) WITHOUT ROWID;

-- Edits that were accepted to be decided later, in the order of `place`, and what came of them.
CREATE TABLE operations (
    place INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice, also when the newest row is gone
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    collection TEXT NOT NULL,
    document TEXT NOT NULL,
    caller TEXT NOT NULL,
    author TEXT NOT NULL,
    body BLOB NOT NULL,             -- the edit as submitted
    accepted INTEGER NOT NULL,
    done INTEGER,                   -- null while it waits
    answer BLOB,
    expires INTEGER,                -- when the answer may be dropped
    UNIQUE (tenant, id)
);

CREATE INDEX operations_waiting ON operations (place) WHERE done IS NULL;
CREATE INDEX operations_by_expiry ON operations (expires) WHERE expires IS NOT NULL;
