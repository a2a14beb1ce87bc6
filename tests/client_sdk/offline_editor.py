"""A program that edits a document with an outbox, and says what it did: to be killed at any moment.

    python offline_editor.py URL OUTBOX FIRST

It numbers its edits from FIRST on. Each line is said after the call has returned.
"""

import asyncio
import sys

from plait_client import AsyncPlait, Retry

NAME = "orders/7"


async def edit(url: str, path: str, first: int) -> None:
    hasty = Retry(attempts=1, attempt_timeout_s=1)
    async with AsyncPlait(url, outbox=path, retry=hasty) as plait:
        order = await plait.doc(NAME)
        say("open", 0)
        for number in range(first, first + 10_000):
            if number % 3:
                await order.set("/log/-", number)
            else:
                async with order.edit() as draft:
                    draft["log"].append(number)
            say("made", number)


def say(act: str, number: int) -> None:
    print(act, number, flush=True)


if __name__ == "__main__":
    asyncio.run(edit(sys.argv[1], sys.argv[2], int(sys.argv[3])))
