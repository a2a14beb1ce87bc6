"""An order desk: several people work on the same orders, and sell from the same shelves, at the same time.

    python examples/order_desk.py http://127.0.0.1:8080

Nobody waits for anybody. A line of an order and what it takes from a shelf are saved together or not at all,
and a schema keeps the shelves from going below zero: what is sold out is refused, whoever was faster. Notes
merge by themselves; where people want different numbers of boxes a rule takes the most; where they chose two
couriers you are asked. Only who packs an order keeps the others out of it, for as long as that takes. At the
end everything is read again and checked.
"""

import asyncio
import sys
from collections import Counter
from random import Random
from typing import Any
from uuid import uuid4

from plait_client import (
    AsyncPlait,
    BatchConflict,
    Counters,
    Document,
    Field,
    InvalidPatch,
    Locked,
    MergeConflict,
    Value,
    ask,
    by_pointer,
)

PEOPLE = ("ada", "bob", "cyn", "dan", "eve")
ORDERS = 3
TURNS = 12
SHELVES = {"cable": 50, "dock": 40}
NEVER_BELOW_ZERO = {"additionalProperties": {"type": "integer", "minimum": 0}}


def most(field: Field) -> Value:
    return Value(max(field.theirs.value, field.yours.value))


RULES = by_pointer({"/boxes": most, "**": ask})


async def main(url: str = "http://127.0.0.1:8080") -> None:
    desk = uuid4().hex[:8]
    orders = [f"orders/{desk}-{number}" for number in range(1, ORDERS + 1)]
    async with AsyncPlait(url, author="desk") as plait:
        rules = await plait.rules("shelves")
        if rules.schema != NEVER_BELOW_ZERO:
            await plait.set_rules("shelves", schema=NEVER_BELOW_ZERO, if_match=rules.revision)
        shelves = await plait.create(f"shelves/{desk}", SHELVES)
        for name in orders:
            await plait.create(name, {"lines": [], "notes": [], "boxes": 0, "courier": None})

        counted = await asyncio.gather(*[work(url, person, shelves.name, orders) for person in PEOPLE])
        print(f"{len(PEOPLE) * TURNS} turns at {ORDERS} orders by {len(PEOPLE)} people at once:")
        print(f"  {sum(each.merged for each, _ in counted)} edits were merged with what others did meanwhile")
        print(f"  {sum(each.conflicts for each, _ in counted)} overlapped")
        print(f"  {sum(refused for _, refused in counted)} times there was not enough on the shelf")
        await choose_couriers(url, orders[0])
        await pack(url, orders[0])

        packed = await plait.doc(orders[0])
        await tell(packed)
        await shelves.refresh()
        parcel = await plait.doc(packed.name.replace("orders", "parcels"))
        wrong = missing(shelves.value, [(await plait.doc(name)).value for name in orders])
        if parcel.value["lines"] != packed.value["lines"]:
            wrong.append("Something was put into the order while it was packed.")
        print("\n".join(wrong) or "Nothing was lost: the shelves add up, and every note is there once.")
        sys.exit(1 if wrong else 0)


async def work(url: str, person: str, shelves: str, orders: list[str]) -> tuple[Counters, int]:
    """Sell things and write notes, as fast as it goes; tell how often something was sold out."""
    chance, refused = Random(person), 0
    async with AsyncPlait(url, author=person) as plait:
        open_orders = [await plait.doc(name) for name in orders]
        for turn in range(TURNS):
            order = chance.choice(open_orders)
            line = {"sku": chance.choice(list(SHELVES)), "n": chance.randint(1, 3), "by": person}
            refused += not await sell(plait, order, shelves, line)
            async with order.edit(on_conflict=RULES) as draft:
                draft["notes"].append(f"{person} {turn}")
                draft["boxes"] = max(draft["boxes"], chance.randint(1, 99))
        return plait.counters, refused


async def sell(plait: AsyncPlait, order: Document, shelves: str, line: dict[str, Any]) -> bool:
    """Take something from its shelf and write it into an order: both, or neither."""
    try:
        async with plait.batch(message=f"{line['n']} x {line['sku']}") as batch:
            draft = await batch.edit(order)
            draft["lines"].append(line)
            await batch.inc(shelves, f"/{line['sku']}", -line["n"])
    except (InvalidPatch, BatchConflict):  # there are not so many: not any more, or not since a moment ago
        return False
    return True


async def choose_couriers(url: str, order: str) -> None:
    """Let two people choose for one order, neither of whom has seen what the other chose."""
    async with AsyncPlait(url, author="ada") as one, AsyncPlait(url, author="bob") as two:
        first, second = await one.doc(order), await two.doc(order)
        async with first.edit(message="they are in a hurry") as draft:
            draft["courier"] = "by bike"
        try:
            async with second.edit(on_conflict=RULES) as draft:
                draft["courier"] = "by van"
            print(f"The courier comes {second.value['courier']}.")
        except MergeConflict as conflict:
            print(f"The courier comes {first.value['courier']}. Put off: {conflict.detail}")


async def pack(url: str, name: str) -> None:
    """Pack an order, with nobody else at its lines meanwhile; its notes go on."""
    async with AsyncPlait(url, author="cyn") as one, AsyncPlait(url, author="dan") as two:
        mine, theirs = await one.doc(name), await two.doc(name)
        async with mine.lock("/lines", ttl_s=30, wait_s=10) as lease:
            try:
                await theirs.set("/lines/-", {"sku": "dock", "n": 1, "by": "dan"})
            except Locked as refused:
                print(f"{refused.holder} packs {name}, so dan cannot add to it now.")
            await theirs.set("/notes/-", "dan is in time for a note")
            async with one.batch(message="packed") as batch:
                draft = await batch.edit(mine)
                draft["packed"] = True
                parcel = {"lines": draft["lines"], "fence": lease.fence}
                await batch.create(name.replace("orders", "parcels"), parcel)


async def tell(order: Document) -> None:
    """Say how an order came to be what it is."""
    for leaf in await order.blame("/courier"):
        print(f"{leaf.author} had the last word on the courier, in revision {leaf.revision}.")
    async for revision in order.history("/packed"):
        print(f"{revision.author} set it to packed in revision {revision.revision} ({revision.message}).")
        break


def missing(shelves: dict[str, int], orders: list[dict[str, Any]]) -> list[str]:
    """Say what does not add up."""
    left = Counter(shelves)
    for line in (line for order in orders for line in order["lines"]):
        left[line["sku"]] += line["n"]
    notes = Counter(note for order in orders for note in order["notes"] if not note.startswith("dan is"))
    written = Counter(f"{person} {turn}" for person in PEOPLE for turn in range(TURNS))
    return (
        [f"There is less than no {sku} on the shelf." for sku in SHELVES if shelves[sku] < 0]
        + [f"The shelf of {sku} does not add up." for sku in SHELVES if left[sku] != SHELVES[sku]]
        + [f"The note {note!r} is there {notes[note]} times." for note in notes | written if notes[note] != 1]
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
