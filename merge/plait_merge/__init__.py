"""Three-way merge of JSON documents: values and patches in, values, patches and conflicts out.

Pure: no I/O, no clock, no globals. `rebase` is the main road (patches over one base), `merge` takes three
whole values, `resolve` settles conflicts. What a merge means is written in `README.md` beside this package.
"""

from plait_merge.algebra import compose, guarded, invert
from plait_merge.blame import Blame, Follower
from plait_merge.diff import diff
from plait_merge.merge import merge
from plait_merge.mergepatch import merge_patch
from plait_merge.notebook import NOTEBOOK, NOTEBOOK_DEFAULT, is_notebook
from plait_merge.outcome import Conflict, Conflicted, Dependent, Facet, Merged, Note, Rebased
from plait_merge.patch import Inapplicable, MalformedPatch, Operation, apply, apply_operations, read_patch
from plait_merge.pointer import InvalidPointer, Tokens, array_index, format_pointer, parse_pointer
from plait_merge.policy import CONFLICT, Policy, PolicyError, Resolver, Rule, policy_schema
from plait_merge.rebase import ChoiceError, carry, changes_nothing, rebase, resolve
from plait_merge.touch import TouchIndex, adds_up
from plait_merge.values import (
    ABSENT,
    LIMITS,
    Absent,
    InvalidValue,
    Json,
    LimitExceeded,
    Limits,
    check_value,
    same,
)

__all__ = [
    "ABSENT",
    "CONFLICT",
    "LIMITS",
    "NOTEBOOK",
    "NOTEBOOK_DEFAULT",
    "Absent",
    "Blame",
    "ChoiceError",
    "Conflict",
    "Conflicted",
    "Dependent",
    "Facet",
    "Follower",
    "Inapplicable",
    "InvalidPointer",
    "InvalidValue",
    "Json",
    "LimitExceeded",
    "Limits",
    "MalformedPatch",
    "Merged",
    "Note",
    "Operation",
    "Policy",
    "PolicyError",
    "Rebased",
    "Resolver",
    "Rule",
    "Tokens",
    "TouchIndex",
    "adds_up",
    "apply",
    "apply_operations",
    "array_index",
    "carry",
    "changes_nothing",
    "check_value",
    "compose",
    "diff",
    "format_pointer",
    "guarded",
    "invert",
    "is_notebook",
    "merge",
    "merge_patch",
    "parse_pointer",
    "policy_schema",
    "read_patch",
    "rebase",
    "resolve",
    "same",
]
