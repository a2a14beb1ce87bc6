"""How conflicts are to be told: the policy of a merge, from options."""

from __future__ import annotations

from plait_client.command.terminal import Refusal
from plait_merge import Json


def read_rules(policy: str | None, keys: list[str] | None) -> Json:
    """Give the policy that a file and `--key` options ask for, as data; None for the default.

    Each key is one or more member names, joined by commas. Raises BadFile and Refusal.
    """
    if policy is None and not keys:
        return None
    raise Refusal("this version merges by its default policy only: --policy and --key are still to come")
