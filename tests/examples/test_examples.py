"""The examples, run as people run them."""

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

from server.live.client import create, edit, replace

EXAMPLES = Path(__file__).parents[2] / "examples"


async def begin(name: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start an example; a test that answers what it asks writes to its standard input."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name),
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def run(name: str, *arguments: str, typed: bytes = b"") -> tuple[int, str, str]:
    """Run an example to its end; give its exit code, what it printed, and what it said on standard error."""
    process = await begin(name, *arguments)
    async with asyncio.timeout(60):
        printed, said = await process.communicate(typed)
    assert process.returncode is not None
    return process.returncode, printed.decode(), said.decode()


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_live_tail_prints_every_revision(client: ClientSession) -> None:
    await create(client, "orders/1", {"n": 0})
    process = await begin("live_tail.py", str(client._base_url).rstrip("/"), "orders/1")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert json.loads(await process.stdout.readline())["t"] == "snapshot"
            for number in range(1, 4):
                await replace(client, "orders/1", "/n", number)
                frame = json.loads(await process.stdout.readline())
                assert (frame["t"], frame["rev"]) == ("rev", number + 1)
    finally:
        await end(process)


async def test_a_projection_that_is_killed_again_and_again_is_right_in_the_end(
    client: ClientSession, tmp_path: Path
) -> None:
    """Also where history that it has not read yet is compacted away meanwhile."""
    url, path = str(client._base_url).rstrip("/"), tmp_path / "projection.db"
    for number in range(20):
        await create(client, f"orders/{number}", {"state": "open", "n": 0})
    for round_ in range(6):
        process = await begin("projection.py", url, str(path))
        for number in range(20):
            await edit(client, f"orders/{number}", {"op": "replace", "path": "/n", "value": round_ + 1})
            await replace(client, f"orders/{number}", "/state", f"s{(number + round_) % 3}")
        await end(process)
        if round_ == 3:
            little = {"retention": {"revisions": 2}}
            headers = {"If-None-Match": "*"}
            async with client.put("/v1/collections/orders", json=little, headers=headers) as answer:
                assert answer.status == 201
    async with client.delete("/v1/docs/orders/0", headers={"If-Match": "*"}) as answer:
        assert answer.status == 204
    process = await begin("projection.py", url, str(path), "--once")
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    await end(process)
    with sqlite3.connect(path) as database:
        counted = dict(database.execute("SELECT state, orders FROM orders_by_state"))
    database.close()
    expected: dict[str, int] = {}
    for number in range(1, 20):
        async with client.get(f"/v1/docs/orders/{number}") as answer:
            state = (await answer.json())["state"]
        expected[state] = expected.get(state, 0) + 1
    assert counted == expected


def url_of(client: ClientSession) -> str:
    return str(client._base_url).rstrip("/")


async def test_the_quickstart_merges_and_settles(client: ClientSession) -> None:
    assert await run("quickstart.py", url_of(client)) == (
        0,
        "merged: {'city': 'Ghent', 'items': ['dock', 'cable'], 'note': ''}\n"
        "/city: ada wrote Bruges, bob Ypres\n"
        "revision 5: {'city': 'Ypres', 'items': ['dock', 'cable'], 'note': 'Ring twice.'}\n",
        "",
    )


@pytest.mark.parametrize(
    ("typed", "courier"),
    [
        (b"yours\n", "The courier comes by van.\n"),
        (b"1x\nada\n", "The courier comes by bike.\n"),
        (b"edit\non foot\n", "The courier comes on foot.\n"),
        (b"", "The courier comes by bike. Put off: "),
    ],
)
async def test_at_the_order_desk_nothing_is_lost(client: ClientSession, typed: bytes, courier: str) -> None:
    code, printed, asked = await run("order_desk.py", url_of(client), typed=typed)
    assert code == 0, printed
    assert courier in printed
    assert "Nothing was lost" in printed
    assert re.search(r"  [1-9]\d* times there was not enough on the shelf\n", printed)
    assert re.search(r"cyn packs orders/\S+-1, so dan cannot add to it now.\n", printed)
    assert re.search(r"\w+ had the last word on the courier, in revision \d+\.\n", printed)
    assert re.search(r"cyn set it to packed in revision \d+ \(packed\)\.\n", printed)
    assert "1 field in orders/" in asked
    assert "You and ada changed it differently." in asked


async def test_a_plan_is_brought_back(client: ClientSession) -> None:
    code, printed, said = await run("time_travel.py", url_of(client))
    assert (code, said) == (0, "")
    assert printed.splitlines() == [
        "since it was sent: [{'op': 'replace', 'path': '/rent', 'value': 8000}, "
        "{'op': 'replace', 'path': '/food', 'value': 320}, {'op': 'replace', 'path': '/fun', 'value': 80}]",
        "  /rent: bob, revision 2",
        "  /food: ann, revision 4",
        "  /fun: ann, revision 3",
        "without the mistake: {'rent': 800, 'food': 320, 'fun': 80}",
        "as it was sent: {'rent': 800, 'food': 300, 'fun': 50}",
        "  revision 5 by ann: one zero too many",
        "  revision 2 by bob: the new lease",
        "  revision 1 by ann: None [sent]",
    ]


async def test_each_vote_that_was_handed_in_is_counted(client: ClientSession) -> None:
    code, printed, said = await run("hand_in.py", url_of(client))
    assert (code, said) == (0, "")
    first, second, last = printed.splitlines()
    assert first == "closed at revision 12: {'open': False, 'yes': 6, 'no': 4}"
    assert second.startswith("too late, and refused: ")
    assert last == "10 votes were counted."


async def test_a_script_without_a_loop_counts_its_runs_however_many_run_at_once(
    client: ClientSession,
) -> None:
    runs = await asyncio.gather(*[run("sync_script.py", url_of(client)) for _ in range(4)])
    assert [(code, said) for code, _, said in runs] == [(0, "")] * 4
    assert sorted(printed.splitlines()[0] for _, printed, _ in runs) == [f"run {n}" for n in (1, 2, 3, 4)]
    async with client.get("/v1/docs/runs/sync-script") as answer:
        value = await answer.json()
    assert value["runs"] == len(value["log"]) == 4


async def test_what_was_typed_without_a_server_arrives_once_after_a_crash(tmp_path: Path) -> None:
    """The server and the program are both killed: what was typed meanwhile is in the outbox alone."""
    database, outbox = str(tmp_path / "plait.db"), str(tmp_path / "outbox.db")
    server, url = await serve(database, "0")
    notes = await begin("offline_edit.py", url, outbox)
    assert await line(notes) == "created: revision 1"
    assert await line(notes) == "0 lines, 0 of them wait"
    await typed(notes, "one")
    assert await line(notes) == "applied: revision 2"
    await end(server)
    await typed(notes, "two")
    assert await line(notes) == f"reconnecting: 1 wait in {outbox}"
    await end(notes)

    notes = await begin("offline_edit.py", url, outbox)
    assert await line(notes) == "2 lines, 1 of them wait"
    await typed(notes, "three")
    assert await line(notes) == f"reconnecting: 2 wait in {outbox}"
    server, url = await serve(database, url.rpartition(":")[2])
    assert await line(notes) == "applied: revision 3"
    assert await line(notes) == "applied: revision 4"
    async with ClientSession(url) as client, client.get("/v1/docs/notes/offline") as answer:
        assert await answer.json() == {"lines": ["one", "two", "three"]}
    await end(notes)
    await end(server)


async def serve(database: str, port: str) -> tuple[asyncio.subprocess.Process, str]:
    """Start a server as people do; give it with its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "plait_server", "serve", "--db", database, "--port", port),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return process, (await line(process)).split()[-1]


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode().rstrip("\n")


async def typed(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{text}\n".encode())
    await process.stdin.drain()
