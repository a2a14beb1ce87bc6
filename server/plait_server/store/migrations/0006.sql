-- By the key first: where keys sort by time, those of one moment are near each other, whosever they are.

DROP INDEX idempotency_by_expiry;

ALTER TABLE idempotency RENAME TO idempotency_5;

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    answer BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (key, caller, tenant)
) WITHOUT ROWID;

INSERT INTO idempotency (tenant, caller, key, fingerprint, answer, expires)
SELECT tenant, caller, key, fingerprint, answer, expires FROM idempotency_5 ORDER BY key;

DROP TABLE idempotency_5;

CREATE INDEX idempotency_by_expiry ON idempotency (expires);
