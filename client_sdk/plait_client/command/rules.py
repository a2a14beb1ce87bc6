"""The policy of a merge: a file of rules, and a key given on the command line."""

from __future__ import annotations

from plait_client.command.terminal import Refusal
from plait_client.command.written import read
from plait_merge import ABSENT, Json, Policy, PolicyError


def read_rules(policy: str | None, key: str | None) -> Json:
    """Give the policy that options ask for, as data; None for the default.

    *policy* is a file. *key*, member names joined by commas, says how the elements of all arrays are told
    apart, where the file says nothing else. Raises BadFile and Refusal.
    """
    rules: Json = None if policy is None else read(policy).value
    if rules is ABSENT:
        raise Refusal(f"{policy} is empty")
    to_policy(rules, policy or "")
    return with_key(rules, key)


def with_key(rules: Json, key: str | None) -> Json:
    """Add a key to rules, for all arrays that nothing else is said of. Raises Refusal."""
    if key is None:
        return rules
    if "" in key.split(","):
        raise Refusal(f"--key {key}: a key is one member name or more, with commas between")
    stated = (rules or {}).get("rules", {})
    keyed = {"array": {"keyed": key.split(",")}}
    rules = {**(rules or {}), "rules": {**stated, "**": {**keyed, **stated.get("**", {})}}}
    to_policy(rules, "--key")
    return rules


def to_policy(rules: Json, name: str) -> Policy | None:
    """Read a policy from data; None is none. Raises Refusal, which calls the data by this name."""
    try:
        return None if rules is None else Policy.read(rules)
    except PolicyError as error:
        raise Refusal(f"{name}: {error}") from error
