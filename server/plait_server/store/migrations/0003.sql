-- Rules of collections.

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
