"""A client in a process of its own: told on stdin what to send at once, it answers on stdout.

A line in is a list of requests, [method, path, headers, body]; a line out is the list of their
answers, [status, headers by lower-case name, body]. Each request of a line goes over a connection of
its own, which is kept for the next line.
"""

import asyncio
import json
import sys
from typing import Any

from aiohttp import ClientSession, TCPConnector

Request = tuple[str, str, dict[str, str], Any]


async def main(url: str) -> None:
    async with ClientSession(url, connector=TCPConnector(limit=0)) as client:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            answers = await asyncio.gather(*(send(client, *request) for request in json.loads(line)))
            print(json.dumps(answers), flush=True)


async def send(client: ClientSession, method: str, path: str, headers: dict[str, str], body: Any) -> Any:
    async with client.request(method, path, headers=headers, data=json.dumps(body)) as answer:
        text = await answer.text()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, headers, json.loads(text) if text else None


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
