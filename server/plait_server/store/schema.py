"""The versions of the schema: the whole of it for a new store, steps for an older one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import complete_statement

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Schema:
    """`script` makes version `version`; `steps[n]` leads from version n - 1 to version n."""

    version: int
    script: str
    steps: Mapping[int, str] = field(default_factory=dict)


def load_schema() -> Schema:
    """Read the schema this program was written for."""
    steps = {int(path.stem): path.read_text() for path in sorted((HERE / "migrations").glob("*.sql"))}
    return Schema(version=max(steps, default=1), script=(HERE / "schema.sql").read_text(), steps=steps)


def statements(script: str) -> Iterator[str]:
    """Split a script, so that it can run inside a transaction that somebody else opened."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if complete_statement(statement):
            yield statement
            statement = ""
