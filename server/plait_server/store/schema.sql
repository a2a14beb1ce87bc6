-- The whole schema, as a new store gets it. Every key starts with the tenant.
-- A change here needs a new version in schema.py and a step in migrations/ that leads to the same.

CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,            -- random; new after a restore from backup
    schema_version INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0, -- the newest fencing number of a lease; only grows
    time INTEGER NOT NULL DEFAULT 0 -- how late it was when last looked at, for what expires; only grows
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

-- A revision never changes once written, except that compaction lets `previous` skip those it removes. What
-- else is here can be rebuilt from these rows.
-- New rows go to the end, whatever document they are of, and no index has to be written beside: a document is
-- read from its latest revision back, or from a snapshot of it (docs/decisions/0013).
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

-- By the key first: where keys sort by time, those of one moment are near each other, whosever they are.
CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    answer BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (key, caller, tenant)
) WITHOUT ROWID;

CREATE INDEX idempotency_by_expiry ON idempotency (expires);

CREATE TABLE conflicts (
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    document TEXT NOT NULL,
    id TEXT NOT NULL,               -- sorts by time
    author TEXT NOT NULL,
    base INTEGER NOT NULL,
    head INTEGER NOT NULL,
    body BLOB NOT NULL,             -- what was submitted
    opened INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    resolved INTEGER,
    resolved_revision INTEGER,
    PRIMARY KEY (tenant, collection, document, id)
);

CREATE INDEX conflicts_by_expiry ON conflicts (expires);

-- What holds for the documents of a collection, a row for each time it was set. Never changed once written.
CREATE TABLE collections (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    n INTEGER NOT NULL,             -- 1, 2, 3 ... without gaps
    body BLOB NOT NULL,             -- policy, schema and strictness, as JSON
    author TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (tenant, name, n)
) WITHOUT ROWID;

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
