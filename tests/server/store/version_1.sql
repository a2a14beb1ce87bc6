PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,            -- random; new after a restore from backup
    schema_version INTEGER NOT NULL
);
INSERT INTO store VALUES(1,'3934ab0a8795bf68',1);
CREATE TABLE documents (
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    id TEXT NOT NULL,
    head INTEGER NOT NULL,          -- the newest revision
    deleted INTEGER NOT NULL,       -- 1 when the head is a tombstone
    created INTEGER NOT NULL,       -- milliseconds since 1970, like every time here
    updated INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection, id)
) WITHOUT ROWID;
INSERT INTO documents VALUES('acme','orders','1',6,0,1800000000001,1800000000006);
INSERT INTO documents VALUES('acme','orders','2',5,1,1800000000001,1800000000005);
CREATE TABLE revisions (
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
    policy INTEGER,                 -- version of the merge policy; null is the default policy
    seq INTEGER NOT NULL,           -- place among all revisions of the tenant
    PRIMARY KEY (tenant, collection, document, n)
);
INSERT INTO revisions VALUES('acme','orders','2',1,'create',X'5b5d',NULL,NULL,'ann','ann-token',NULL,1800000000001,NULL,NULL,NULL,1);
INSERT INTO revisions VALUES('acme','orders','1',1,'create',X'5b7b226f70223a22616464222c2270617468223a22222c2276616c7565223a7b2261223a307d7d5d',NULL,NULL,'ann','ann-token',NULL,1800000000001,NULL,NULL,NULL,2);
INSERT INTO revisions VALUES('acme','orders','1',2,'edit',X'5b7b226f70223a22616464222c2270617468223a22222c2276616c7565223a7b2261223a317d7d5d',1,NULL,'ann','ann-token',NULL,1800000000002,NULL,NULL,NULL,3);
INSERT INTO revisions VALUES('acme','orders','2',2,'edit',X'5b5d',1,NULL,'ann','ann-token',NULL,1800000000002,NULL,NULL,NULL,4);
INSERT INTO revisions VALUES('acme','orders','2',3,'edit',X'5b5d',2,NULL,'ann','ann-token',NULL,1800000000003,NULL,NULL,NULL,5);
INSERT INTO revisions VALUES('acme','orders','1',3,'edit',X'5b7b226f70223a22616464222c2270617468223a22222c2276616c7565223a7b2261223a327d7d5d',2,NULL,'ann','ann-token',NULL,1800000000003,NULL,NULL,NULL,6);
INSERT INTO revisions VALUES('acme','orders','1',4,'edit',X'5b7b226f70223a22616464222c2270617468223a22222c2276616c7565223a7b2261223a337d7d5d',3,NULL,'ann','ann-token',NULL,1800000000004,NULL,NULL,NULL,7);
INSERT INTO revisions VALUES('acme','orders','2',4,'edit',X'5b5d',3,NULL,'ann','ann-token',NULL,1800000000004,NULL,NULL,NULL,8);
INSERT INTO revisions VALUES('acme','orders','2',5,'delete',X'5b5d',4,NULL,'ann','ann-token',NULL,1800000000005,NULL,NULL,NULL,9);
INSERT INTO revisions VALUES('acme','orders','1',5,'edit',X'5b7b226f70223a22616464222c2270617468223a22222c2276616c7565223a7b2261223a347d7d5d',4,NULL,'ann','ann-token',NULL,1800000000005,NULL,NULL,NULL,10);
INSERT INTO revisions VALUES('acme','orders','1',6,'edit',X'5b5d',5,NULL,'ann','ann-token',NULL,1800000000006,NULL,NULL,NULL,11);
CREATE TABLE snapshots (
    tenant TEXT NOT NULL,
    collection TEXT NOT NULL,
    document TEXT NOT NULL,
    n INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (tenant, collection, document, n)
);
INSERT INTO snapshots VALUES('acme','orders','1',3,X'7b2261223a327d');
CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    answer BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (tenant, caller, key)
) WITHOUT ROWID;
INSERT INTO idempotency VALUES('acme','ann-token','here-0','fingerprint',X'7b7d',1800000001000);
INSERT INTO idempotency VALUES('acme','ann-token','here-1','fingerprint',X'7b7d',1800000001000);
INSERT INTO idempotency VALUES('acme','ann-token','here-2','fingerprint',X'7b7d',1800000001000);
INSERT INTO idempotency VALUES('acme','ann-token','here-3','fingerprint',X'7b7d',1800000001000);
INSERT INTO idempotency VALUES('acme','ann-token','here-4','fingerprint',X'7b7d',1800000001000);
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
INSERT INTO conflicts VALUES('acme','orders','1','c1','ann',1,2,X'7b7d',1800000000000,1800000001000,1800000000000,6);
INSERT INTO conflicts VALUES('acme','orders','1','c2','ann',1,2,X'7b7d',1800000000000,1800000001000,NULL,NULL);
CREATE UNIQUE INDEX revisions_by_seq ON revisions (tenant, seq);
CREATE INDEX idempotency_by_expiry ON idempotency (expires);
CREATE INDEX conflicts_by_expiry ON conflicts (expires);
COMMIT;
