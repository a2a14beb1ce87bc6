"""`plait merge` by a policy, from a file or a key."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from client_sdk.command.conftest import Plait

Write = Callable[..., None]
MERGE = ("merge", "base.json", "theirs.json", "yours.json")


def yours(folder: Path) -> str:
    return (folder / "yours.json").read_text()


def test_a_policy_decides_what_would_be_a_conflict(folder: Path, plait: Plait, write: Write) -> None:
    write(base='{"n": 1, "t": "a"}', theirs='{"n": 4, "t": "b"}', yours='{"n": 3, "t": "c"}')
    write(policy='{"rules": {"/n": {"scalar": "sum"}, "/t": {"scalar": "theirs"}}}')
    assert plait(*MERGE, "--policy", "policy.json").code == 0
    assert yours(folder) == '{"n": 6, "t": "b"}'


def test_a_key_tells_elements_apart(folder: Path, plait: Plait, write: Write) -> None:
    """Both added one order line and agree in nothing but its key."""
    write(
        base="[]",
        theirs='[{"sku": "x", "pos": 1, "n": 2}]',
        yours='[{"sku": "x", "pos": 1, "price": 1.50}]',
    )
    assert plait(*MERGE, "--key", "sku,pos").code == 0
    assert json.loads(yours(folder)) == [{"sku": "x", "pos": 1, "n": 2, "price": 1.5}]
    assert "1.50" in yours(folder)


def test_a_rule_of_the_file_counts_more_than_the_key(folder: Path, plait: Plait, write: Write) -> None:
    write(base="[]", theirs='[{"sku": "x", "n": 2}]', yours='[{"sku": "x", "m": 1}]')
    write(policy='{"rules": {"**": {"array": "list", "keys": "off"}}}')
    assert plait(*MERGE, "--policy", "policy.json", "--key", "sku").code == 0
    assert len(json.loads(yours(folder))) == 2


def test_conflicts_are_settled_by_the_policy_they_were_found_by(
    folder: Path, plait: Plait, write: Write
) -> None:
    write(base='{"n": 1, "t": "a"}', theirs='{"n": 4, "t": "b"}', yours='{"n": 3, "t": "c"}')
    write(policy='{"rules": {"/n": {"scalar": "max"}}}')
    assert plait(*MERGE, "--policy", "policy.json").code == 1
    assert yours(folder) == '{"n": 4, "t": "c"}'
    (folder / "policy.json").unlink()
    assert plait("resolve", "yours.json", "--choose", "theirs").code == 0
    assert yours(folder) == '{"n": 4, "t": "b"}'


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ('{"rules": {"/n": {"scalar": "biggest"}}}', "policy.json: "),
        ("[]", "policy.json: "),
        ("{", "policy.json:1:2: "),
    ],
)
def test_what_is_no_policy_is_refused(policy: str, told: str, plait: Plait, write: Write) -> None:
    write(base="{}", theirs="{}", yours="{}", policy=policy)
    answer = plait(*MERGE, "--policy", "policy.json")
    assert answer.code == 2
    assert told in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_key_without_a_name_is_refused(plait: Plait, write: Write) -> None:
    write(base="{}", theirs="{}", yours="{}")
    answer = plait(*MERGE, "--key", "")
    assert answer.code == 2
    assert "--key" in answer.err
