"""A read model built from the feed: how many orders there are of each state, in a SQLite file of its own.

    python examples/projection.py http://127.0.0.1:8080 projection.db [--once]

Kill it whenever you like. What it has read and how far it has read are written in one transaction, so it
goes on where that says; a change that comes twice changes nothing. Delete the file and it is built anew.
"""

import json
import sqlite3
import sys
from urllib.parse import quote
from urllib.request import urlopen

from plait_merge import ABSENT, apply

SCHEMA = """
CREATE TABLE IF NOT EXISTS feed (one INTEGER PRIMARY KEY CHECK (one = 1), cursor TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS documents (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, value TEXT);
CREATE VIEW IF NOT EXISTS orders_by_state AS
    SELECT value ->> 'state' AS state, count(*) AS orders FROM documents
    WHERE name LIKE 'orders/%' AND value IS NOT NULL GROUP BY 1;
"""


def main(server: str, path: str, *, once: bool) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(SCHEMA)
    while True:
        cursor = (database.execute("SELECT cursor FROM feed").fetchone() or [None])[0]
        since = "" if cursor is None else f"&since={quote(cursor)}"
        wait = 0 if once else 30
        with urlopen(f"{server}/v1/changes?limit=100&wait={wait}{since}") as answer:
            page = json.load(answer)
        database.execute("BEGIN IMMEDIATE")
        for change in page["changes"]:
            project(database, change)
        database.execute("REPLACE INTO feed VALUES (1, ?)", (page["cursor"],))
        database.execute("COMMIT")
        if once and not page["changes"]:
            return


def project(database: sqlite3.Connection, change: dict) -> None:
    """Take one revision in, unless it is known."""
    name, revision = change["document"], change["revision"]
    row = database.execute("SELECT revision, value FROM documents WHERE name = ?", (name,)).fetchone()
    known, text = row or (0, None)
    if revision <= known:
        return
    assert revision == known + 1 or change.get("compacted"), "the feed is in order for each document"
    value = apply(ABSENT if text is None else json.loads(text), change["patch"])
    text = None if value is ABSENT else json.dumps(value)
    database.execute("REPLACE INTO documents VALUES (?, ?, ?)", (name, revision, text))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], once="--once" in sys.argv)
