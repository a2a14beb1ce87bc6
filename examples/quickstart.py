"""Two people, one document: an edit, a merge, a conflict, and the conflict settled.

    python examples/quickstart.py http://127.0.0.1:8080

See how Bob's edit lands on top of Ada's though he made it from an older revision, and how the one place
that both changed is decided, with everything else of his edit kept.
"""

import asyncio
import sys
from uuid import uuid4

from plait_client import AsyncPlait, MergeConflict


async def main(url: str = "http://127.0.0.1:8080") -> None:
    name = f"orders/{uuid4().hex[:8]}"
    async with AsyncPlait(url, author="ada") as one, AsyncPlait(url, author="bob") as two:
        ada = await one.create(name, {"city": "Ostend", "items": ["dock"], "note": ""})
        bob = await two.doc(name)

        async with ada.edit(message="moved house") as draft:
            draft["city"] = "Ghent"
        async with bob.edit() as draft:  # bob has not seen that yet
            draft["items"].append("cable")
        print(f"{bob.last_save.outcome}: {bob.value}")

        async with ada.edit() as draft:
            draft["city"] = "Bruges"
        try:
            async with bob.edit() as draft:
                draft["city"] = "Ypres"
                draft["note"] = "Ring twice."
        except MergeConflict as conflict:
            for field in conflict:  # or ask somebody: `await settle(conflict)`
                print(f"{field.pointer}: {field.author} wrote {field.theirs.value}, bob {field.yours.value}")
                field.choose("yours")
            await conflict.save(message="asked ada")
        print(f"revision {bob.revision}: {bob.value}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
