"""Jupyter notebooks: people write the sources of cells, and the rest is what runs left behind."""

from __future__ import annotations

from typing import Final

from plait_merge.policy import Policy
from plait_merge.values import Absent, Json

_WRITTEN: Final[dict[str, Json]] = {
    "/cells/*/source": {"array": "lines", "string": {"text": "lines"}},
    "/cells/*/execution_count": {"scalar": "max"},
    "/cells/*/outputs/*/execution_count": {"scalar": "max"},
    "/cells/*/outputs/**": {"scalar": "newest"},
    "/metadata/language_info/version": {"scalar": "newest"},
}
_RUN: Final[dict[str, Json]] = {
    "/cells/*/outputs": {"array": "atomic", "scalar": "theirs"},
    "/cells/*/execution_count": {"scalar": "theirs"},
    "/cells/*/metadata/ExecuteTime": {"object": "atomic", "scalar": "theirs"},
    "/cells/*/metadata/execution": {"object": "atomic", "scalar": "theirs"},
    "/cells/*/metadata/collapsed": {"scalar": "theirs"},
    "/cells/*/metadata/scrolled": {"scalar": "theirs"},
    "/metadata/language_info": {"object": "atomic", "scalar": "theirs"},
    "/metadata/widgets": {"object": "atomic", "scalar": "theirs"},
    "/nbformat_minor": {"scalar": "max"},
}

NOTEBOOK_DEFAULT: Final = Policy.read({"version": "notebook-default-1", "rules": _WRITTEN})
"""For `merge` of three notebooks where no policy is given.

The source of a cell is a text, in which edits that touch conflict. A counter is the higher one, and of two
runs that differ in nothing but version numbers the newer one counts. All else is as ever.
"""

NOTEBOOK: Final = Policy.read({"version": "notebook-2", "rules": {**_WRITTEN, **_RUN}})
"""For `merge` on notebooks, where asked for: theirs' run of a cell where both sides ran it again.

Sources, the order of cells, attachments and every other member conflict as ever, the kernel chosen too.
Outputs may then be older than the source they stand under; only running the cell tells.
"""


def is_notebook(value: Json | Absent) -> bool:
    """Tell whether a value has the shape of a notebook (nbformat 4)."""
    return type(value) is dict and type(value.get("nbformat")) is int and type(value.get("cells")) is list
