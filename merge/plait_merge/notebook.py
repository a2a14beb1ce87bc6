"""Jupyter notebooks: what was computed from their cells is nobody's edit, and one side's will do."""

from __future__ import annotations

from typing import Final

from plait_merge.policy import Policy
from plait_merge.values import Absent, Json

NOTEBOOK: Final = Policy.read(
    {
        "version": "notebook-1",
        "rules": {
            "/cells/*/outputs": {"array": "atomic", "scalar": "theirs"},
            "/cells/*/execution_count": {"scalar": "theirs"},
            "/cells/*/metadata/ExecuteTime": {"object": "atomic", "scalar": "theirs"},
            "/cells/*/metadata/execution": {"object": "atomic", "scalar": "theirs"},
            "/cells/*/metadata/collapsed": {"scalar": "theirs"},
            "/cells/*/metadata/scrolled": {"scalar": "theirs"},
            "/metadata/language_info": {"object": "atomic", "scalar": "theirs"},
            "/metadata/widgets": {"object": "atomic", "scalar": "theirs"},
            "/nbformat_minor": {"scalar": "max"},
        },
    }
)
"""For `merge` on notebooks, where asked for: theirs' run of a cell where both sides ran it again.

Sources, the order of cells, attachments and every other member conflict as ever, the kernel chosen too.
Outputs may then be older than the source they stand under; only running the cell tells.
"""


def is_notebook(value: Json | Absent) -> bool:
    """Tell whether a value has the shape of a notebook (nbformat 4)."""
    return type(value) is dict and type(value.get("nbformat")) is int and type(value.get("cells")) is list
