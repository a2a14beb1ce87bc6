"""Leases of a server in a process of its own: killed while one stands, asked by several processes at once."""

import asyncio
import sys
from typing import Any

from aiohttp import ClientSession

from server.faults.conftest import Start
from server.faults.serving import Server

DOC = "/v1/docs/orders/7"
LOCKS = f"{DOC}/locks"
PATCH = {"Content-Type": "application/json-patch+json"}
VALUE = {"lines": [{"n": 0}, {"n": 1}], "title": "A"}
RIVALS = 4
ROUNDS = 25

RIVAL = """
import asyncio, sys
from aiohttp import ClientSession

async def main(url, author, rounds):
    headers = {"Plait-Author": author}
    async with ClientSession(url, headers=headers) as client:
        while True:
            async with client.post("/v1/docs/orders/7/locks", json={"pointer": "/n"}) as answer:
                lease = await answer.json()
            if answer.status == 423:
                continue
            assert answer.status == 201, lease
            hold = {"Plait-Lock": f"{lease['lock']};fence={lease['fence']}"}
            async with client.get("/v1/docs/orders/7") as answer:
                seen = (await answer.json())["n"]
            # Neither a base nor a condition: only the lease keeps the others from writing in between.
            async with client.patch(
                "/v1/docs/orders/7",
                json=[{"op": "replace", "path": "/n", "value": seen + 1}],
                headers={**hold, "Content-Type": "application/json-patch+json"},
            ) as answer:
                assert answer.status == 200, await answer.text()
            print(lease["fence"], flush=True)
            there = f"/v1/docs/orders/7/locks/{lease['lock']}?fence={lease['fence']}"
            async with client.delete(there) as answer:
                assert answer.status == 204
            rounds -= 1
            if not rounds:
                return

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def send(client: ClientSession, operation: dict[str, Any], **headers: str) -> tuple[int, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.patch(DOC, json=[operation], headers={**PATCH, **named}) as answer:
        return answer.status, await answer.json()


async def create(client: ClientSession, value: Any) -> None:
    async with client.put(DOC, json=value, headers={"If-None-Match": "*"}) as answer:
        assert answer.status == 201


async def take(client: ClientSession, pointer: str, ttl_s: float, author: str) -> tuple[int, Any]:
    body, headers = {"pointer": pointer, "ttl_s": ttl_s}, {"Plait-Author": author}
    async with client.post(LOCKS, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_lease_guards_on_after_kill_9_until_it_ends(start: Start) -> None:
    """Where it was at the end, with the fence it had; who takes it over afterwards has a higher one."""
    server = await start()
    async with server.client() as client:
        await create(client, VALUE)
        _, long = await take(client, "/lines/1", 600, "ann")
        _, short = await take(client, "/title", 3, "ann")
        first = {"op": "add", "path": "/lines/0", "value": {"n": 9}}
        assert (await send(client, first, Plait_Author="bob"))[0] == 200
    await server.kill()
    server = await start()
    async with server.client() as client:
        inside = {"op": "replace", "path": "/lines/2/n", "value": 5}
        status, problem = await send(client, inside, Plait_Author="bob")
        assert (status, problem["pointer"], problem["holder"]) == (423, "/lines/2", "ann")
        hold = f"{long['lock']};fence={long['fence']}"
        assert (await send(client, inside, Plait_Author="ann", Plait_Lock=hold))[0] == 200
        async with asyncio.timeout(10):
            while (taken := await take(client, "/title", 30, "bob"))[0] == 423:
                assert taken[1]["holder"] == "ann"
        assert taken[0] == 201
        assert taken[1]["fence"] > max(long["fence"], short["fence"])
        hold = f"{short['lock']};fence={short['fence']}"
        late = {"op": "replace", "path": "/title", "value": "B"}
        assert (await send(client, late, Plait_Author="ann", Plait_Lock=hold))[0] == 409
    await server.kill()
    server = await start()
    async with server.client() as client:
        assert (await send(client, late, Plait_Author="ann", Plait_Lock=hold))[0] == 409
        assert (await send(client, late, Plait_Author="ann"))[0] == 423


async def test_processes_that_count_under_a_lease_lose_nothing(server: Server, client: ClientSession) -> None:
    """Each reads and writes without any condition: the lease alone keeps them apart."""
    await create(client, {"n": 0})
    rivals = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            RIVAL,
            server.url,
            f"rival {number}",
            str(ROUNDS),
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(RIVALS)
    ]
    async with asyncio.timeout(60):
        outputs = await asyncio.gather(*(each.communicate() for each in rivals))
    assert [each.returncode for each in rivals] == [0] * RIVALS
    told = [[int(fence) for fence in output.split()] for output, _ in outputs]
    assert len({fence for own in told for fence in own}) == RIVALS * ROUNDS
    assert all(own == sorted(own) for own in told)
    async with client.get(DOC) as answer:
        assert await answer.json() == {"n": RIVALS * ROUNDS}
