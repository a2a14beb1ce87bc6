"""Edits that are handed in and decided later: nobody waits, and nobody tries again.

    python examples/hand_in.py http://127.0.0.1:8080

Ten people vote at once without even reading the poll. Each vote is on the server's disk when it was handed
in, they are counted in the order they came, and a vote that comes too late is refused, by name.
"""

import asyncio
import sys
from uuid import uuid4

from plait_client import AsyncPlait, TestFailed

VOTERS = 10


async def main(url: str = "http://127.0.0.1:8080") -> None:
    async with AsyncPlait(url, author="chair") as plait:
        poll = await plait.create(f"polls/{uuid4().hex[:8]}", {"open": True, "yes": 0, "no": 0})
        await asyncio.gather(*[vote(url, poll.name, number) for number in range(VOTERS)])

        closing = await poll.submit(lambda draft: draft.update(open=False), message="closed")
        await closing.result(timeout_s=30)
        print(f"closed at revision {poll.revision}: {poll.value}")

        late = await plait.submit(poll.name, ballot("yes"))
        try:
            await late.result(timeout_s=30)
        except TestFailed as error:
            print(f"too late, and {late.status}: {error.detail}")
        await poll.refresh()
        print(f"{poll.value['yes'] + poll.value['no']} votes were counted.")


def ballot(side: str) -> list[dict[str, object]]:
    """A vote, if the poll is open when its turn comes."""
    return [{"op": "test", "path": "/open", "value": True}, {"op": "inc", "path": f"/{side}", "value": 1}]


async def vote(url: str, poll: str, number: int) -> None:
    """Hand a vote in and go."""
    async with AsyncPlait(url, author=f"voter-{number}") as plait:
        await plait.submit(poll, ballot("yes" if number % 3 else "no"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
