"""The demo as people run it, and what its check would notice."""

import gzip
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from plait_merge import apply
from plait_server.demo.cast import DOCUMENTS, intent
from plait_server.demo.client import Client, Patch, Reply
from plait_server.demo.history import History, ReplayRefused, read_histories, windows
from plait_server.demo.show import laid_out
from plait_server.demo.stage import staged
from plait_server.ledger import Ledger, Verdict, View

HISTORY = {
    "repo": "some/project",
    "path": "settings.json",
    "first": {"value": {"name": "a", "list": [1, 2, 3], "n": 0}},
    "steps": [
        {"patch": [{"op": "replace", "path": "/name", "value": "b"}]},
        {"patch": [{"op": "remove", "path": "/list/0"}]},
        {"patch": [{"op": "replace", "path": "/list/1", "value": 30}]},
        {"patch": [{"op": "replace", "path": "/n", "value": 1}]},
        {"patch": [{"op": "replace", "path": "/n", "value": 2}]},
        {"patch": [{"op": "add", "path": "/new", "value": {"x": 1}}]},
        {"patch": [{"op": "replace", "path": "/new/x", "value": 2}]},
    ],
}
VALUES = [{"name": "a", "list": [1, 2, 3], "n": 0}, {"name": "b", "list": [2, 30], "n": 2, "new": {"x": 2}}]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "plait_server", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def history(*patches: Patch, first: Any = None) -> History:
    return History("histories/one", VALUES[0] if first is None else first, patches)


# ------------------------------------------------------------------------------------------- people


def test_it_tells_every_edit_one_conflict_and_the_verdict() -> None:
    done = demo("--people", "4", "--edits", "30", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    told = done.stdout.partition("== One conflict")[0]
    for number in range(1, 31):
        assert f"\n{number:4}  " in told
    for word in ('"kind": "edit_edit"', "/resolution", '"settled": ', "exactly once", "Where to go next"):
        assert word in done.stdout


def test_its_report_is_json_and_all_that_is_on_stdout() -> None:
    done = demo("--edits", "10", "--json")
    report = json.loads(done.stdout)
    assert report["verdict"]["holds"]
    assert report["verdict"]["acknowledged"] == report["verdict"]["revisions"] >= 3
    assert sum(report["outcomes"].values()) >= report["edits"] == 10


def test_whatever_people_do_can_be_done_with_what_they_see() -> None:
    """Each habit gives a patch that applies to the value it was given, for documents far from the first."""
    random = Random(1)
    for document, value in DOCUMENTS.items():
        for _ in range(300):
            value = apply(value, intent(random, document, value).patch)


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_people_find_something_to_do_however_much_others_have_removed(left: int) -> None:
    random = Random(left)
    for document, value in DOCUMENTS.items():
        less = {name: part[:left] if isinstance(part, list) else part for name, part in value.items()}
        for _ in range(100):
            apply(less, intent(random, document, less).patch)


def test_the_same_seed_gives_the_same_habits() -> None:
    value = DOCUMENTS["plans/launch"]
    one, other = (
        [intent(random, "plans/launch", value) for _ in range(20)] for random in (Random("x"), Random("x"))
    )
    assert one == other


def test_json_is_laid_out_on_lines_that_fit() -> None:
    value = {"short": [1, 2], "long": ["x" * 60, "y" * 60], "none": {}, "deep": {"a": {"b": "z" * 90}}}
    assert json.loads(laid_out(value)) == value
    assert laid_out([1, {"a": 2}]) == '[1, {"a": 2}]'


# ------------------------------------------------------------------------------------------- the check


async def checked(spoil: Callable[[Ledger, Reply], None]) -> Verdict:
    """Make a document and one edit, write both down, spoil the book, and check it against the server."""
    async with staged() as session:
        client, ledger = Client(session, "ada"), Ledger()
        ledger.note("ada", None, (await client.create("orders/1", {"n": 0})).acknowledged)
        patch: Patch = [{"op": "replace", "path": "/n", "value": 1}]
        reply = await client.edit("orders/1", 1, patch, "one more")
        ledger.note("ada", "one more", reply.acknowledged)
        spoil(ledger, reply)
        return await ledger.check(client, [("orders/1", await client.read("orders/1"))])


async def test_the_check_holds_for_an_honest_book() -> None:
    verdict = await checked(lambda ledger, reply: None)
    assert verdict.holds
    assert (verdict.acknowledged, verdict.revisions, verdict.views) == (2, 2, 1)


async def test_the_check_sees_an_edit_that_is_not_in_the_history() -> None:
    def spoil(ledger: Ledger, reply: Reply) -> None:
        ledger.note("ada", "lost", {**reply.body, "revision": 3})

    verdict = await checked(spoil)
    assert not verdict.holds
    assert verdict.missing == 1


async def test_the_check_sees_an_edit_that_was_acknowledged_otherwise() -> None:
    def spoil(ledger: Ledger, reply: Reply) -> None:
        ledger.note("bob", "one more", reply.acknowledged)

    verdict = await checked(spoil)
    assert (verdict.missing, verdict.doubled) == (1, 1)


async def test_the_check_sees_a_revision_nobody_asked_for() -> None:
    async with staged() as session:
        client, ledger = Client(session, "ada"), Ledger()
        ledger.note("ada", None, (await client.create("orders/1", {"n": 0})).acknowledged)
        await client.edit("orders/1", 1, [{"op": "replace", "path": "/n", "value": 1}], "not written down")
        verdict = await ledger.check(client, [("orders/1", View(2, {"n": True}))])
    assert not verdict.holds
    assert (verdict.unasked, verdict.outdated) == (1, 1)


# ------------------------------------------------------------------------------------------- histories


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_histories_are_read_packed_or_plain(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "histories"
    file.write_bytes(pack(json.dumps(HISTORY).encode() + b"\n\n" + json.dumps(HISTORY).encode()))
    one, other = read_histories(file)
    assert one.document == "histories/1-some-project-settings.json"
    assert other.document == "histories/3-some-project-settings.json"
    assert one.first == VALUES[0]
    assert len(one.patches) == 7


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"1", b'{"first": {"value": 1}}', b'{"steps": 1}', b"\xfd7zXZ\x00!"]
)
def test_what_is_no_history_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "histories"
    file.write_bytes(content)
    with pytest.raises(ReplayRefused):
        list(read_histories(file))


def test_edits_of_one_window_are_written_on_its_base() -> None:
    """The second of two edits of one list hits the same element there, by its other index."""
    (window,) = windows(
        history([{"op": "remove", "path": "/list/0"}], [{"op": "replace", "path": "/list/1", "value": 30}]), 8
    )
    assert window.edits[1] == [{"op": "replace", "path": "/list/2", "value": 30}]
    assert window.target == {"name": "a", "list": [2, 30], "n": 0}


def test_two_edits_of_one_thing_stay_two_edits_of_one_thing() -> None:
    (window,) = windows(
        history([{"op": "replace", "path": "/n", "value": 1}], [{"op": "replace", "path": "/n", "value": 2}]),
        8,
    )
    assert window.edits[1] == [{"op": "replace", "path": "/n", "value": 2}]


def test_an_edit_that_builds_on_another_waits_for_it() -> None:
    cut = windows(
        history([{"op": "add", "path": "/new", "value": [1]}], [{"op": "remove", "path": "/new"}]), 8
    )
    assert [len(window.edits) for window in cut] == [1, 1]


def test_a_window_is_no_longer_than_the_lag() -> None:
    patches: list[Patch] = [[{"op": "add", "path": f"/m{n}", "value": n}] for n in range(10)]
    assert [len(window.edits) for window in windows(history(*patches), 4)] == [4, 4, 2]
    assert [len(window.edits) for window in windows(history(*patches), 4, 5)] == [4, 1]


def test_a_step_that_does_not_apply_is_named() -> None:
    with pytest.raises(ReplayRefused, match=r"Step 2 of histories/one"):
        windows(history([], [{"op": "remove", "path": "/nothing"}]), 8)


def test_histories_go_through_the_server_and_come_out_as_they_were(tmp_path: Path) -> None:
    """Conflicts are settled for the later edit; what the server does not take is counted and named."""
    large = {"path": "large", "first": {"value": "x" * 1_100_000}, "steps": []}
    file = tmp_path / "histories.jsonl"
    file.write_text(json.dumps(HISTORY) + "\n" + json.dumps(large))
    done = demo("--replay", str(file), "--writers", "3", "--lag", "5", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"]["holds"]
    assert report["edits"] == 7
    assert report["conflicts_by_kind"] == {"edit_edit": 1, "add_add": 1}
    assert report["conflicted"] == report["settled"] == 2
    assert report["applied"] + report["merged"] + report["conflicted"] == 7
    assert report["groups_without_conflict_as_the_original"] == report["groups_without_conflict"]
    assert report["documents_not_taken"] == {"histories/2-large": "too-large"}


def test_a_replay_tells_its_report(tmp_path: Path) -> None:
    file = tmp_path / "histories.jsonl"
    file.write_text(json.dumps(HISTORY))
    done = demo("--replay", str(file), "--documents", "1", "--steps", "3")
    assert done.returncode == 0, done.stderr
    for word in ("edits                3", "p99", "missing 0, doubled 0", "exactly once"):
        assert word in done.stdout


def test_a_file_that_cannot_be_replayed_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, word in (("nowhere", "cannot be read"), ("empty", "no edit history")):
        done = demo("--replay", str(tmp_path / name))
        assert done.returncode == 1
        assert done.stdout == ""
        (sentence,) = done.stderr.splitlines()
        assert word in sentence
