"""What a document was: labels, a difference, who set what, one mistake taken back, and all of it restored.

    python examples/time_travel.py http://127.0.0.1:8080

Ann plans a budget, Bob makes a mistake in the middle of it. See how only his revision is taken back, with
everything that came after it kept, and how the whole plan is later made again what was once sent out.
"""

import asyncio
import sys
from uuid import uuid4

from plait_client import AsyncPlait


async def main(url: str = "http://127.0.0.1:8080") -> None:
    name = f"plans/{uuid4().hex[:8]}"
    async with AsyncPlait(url, author="ann") as one, AsyncPlait(url, author="bob") as two:
        plan = await one.create(name, {"rent": 800, "food": 300, "fun": 50})
        await plan.label("sent")  # a name for revision 1

        bobs = await two.doc(name)
        await bobs.set("/rent", 8_000, message="the new lease")
        mistake = bobs.revision
        async with plan.edit() as draft:
            draft["fun"] = 80
        await plan.set("/food", 320)

        sent = await plan.at(label="sent")
        print(f"since it was sent: {await plan.diff(sent.revision)}")
        for leaf in await plan.blame():
            print(f"  {leaf.pointer}: {leaf.author}, revision {leaf.revision}")

        await plan.revert(revision=mistake, message="one zero too many")
        print(f"without the mistake: {plan.value}")

        await plan.restore(revision=sent.revision, message="back to what they have")
        print(f"as it was sent: {plan.value}")
        async for revision in plan.history("/rent"):
            named = f" [{', '.join(revision.labels)}]" if revision.labels else ""
            print(f"  revision {revision.revision} by {revision.author}: {revision.message}{named}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
