"""Follow documents as people edit them: every revision, exactly once, in order.

    python examples/live_tail.py http://127.0.0.1:8080 orders/1 orders/2

It comes back by itself when the connection is lost, and goes on from the revision it had.
"""

import asyncio
import json
import sys

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse

from plait_merge import ABSENT, apply

RECONNECT_S = 1.0


async def main(server: str, *names: str) -> None:
    revisions: dict[str, int] = {}
    values: dict[str, object] = {}
    async with ClientSession(server) as session:
        while True:
            try:
                async with session.ws_connect("/v1/live", protocols=["plait.v1.json"]) as socket:
                    await follow(socket, names, revisions, values)
            except ClientError as error:
                print(f"lost: {error}", file=sys.stderr)
            await asyncio.sleep(RECONNECT_S)


async def follow(
    socket: ClientWebSocketResponse, names: tuple[str, ...], revisions: dict[str, int], values: dict
) -> None:
    await socket.send_json({"t": "hello", "client": "live_tail"})
    for number, name in enumerate(names):
        known = {"from": revisions[name]} if name in revisions else {}
        await socket.send_json({"t": "sub", "id": number, "doc": name, **known})
    async for message in socket:
        frame = json.loads(message.data)
        if frame["t"] == "snapshot":
            values[frame["doc"]] = ABSENT if frame.get("deleted") else frame["value"]
        elif frame["t"] == "rev":
            assert frame["prev"] == revisions[frame["doc"]], "nothing is ever missing"
            values[frame["doc"]] = apply(values[frame["doc"]], frame["patch"])
        elif frame["t"] != "problem":
            continue
        if "rev" in frame:
            revisions[frame["doc"]] = frame["rev"]
        print(json.dumps(frame), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
