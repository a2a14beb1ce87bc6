-- The time of the store, by which what is kept expires.

ALTER TABLE store RENAME TO store_4;

CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,            -- random; new after a restore from backup
    schema_version INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0, -- the newest fencing number of a lease; only grows
    time INTEGER NOT NULL DEFAULT 0 -- how late it was when last looked at, for what expires; only grows
);

INSERT INTO store (one, epoch, schema_version, fence) SELECT one, epoch, schema_version, fence FROM store_4;

DROP TABLE store_4;
