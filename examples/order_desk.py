"""An order desk: several people work on the same orders, and take from the same shelves, at the same time.

    python examples/order_desk.py http://127.0.0.1:8080

Nobody waits for anybody. Lines and notes of an order merge by themselves; where people want different
numbers of boxes a rule takes the most; where they chose two couriers you are asked. What is on the shelves is
counted strictly, by `update`. At the end everything is read again and checked: the stock, and every note.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any
from uuid import uuid4

from plait_client import AsyncPlait, Counters, Field, MergeConflict, Value, ask, by_pointer

PEOPLE = ("ada", "bob", "cyn", "dan", "eve")
ORDERS = 3
TURNS = 12
SHELVES = {"cable": 1_000, "dock": 1_000}


def most(field: Field) -> Value:
    return Value(max(field.theirs.value, field.yours.value))


RULES = by_pointer({"/boxes": most, "**": ask})


async def main(url: str = "http://127.0.0.1:8080") -> None:
    desk = uuid4().hex[:8]
    orders = [f"orders/{desk}-{number}" for number in range(1, ORDERS + 1)]
    async with AsyncPlait(url, author="desk") as plait:
        stock = await plait.create(f"stock/{desk}", SHELVES)
        for name in orders:
            await plait.create(name, {"lines": [], "notes": [], "boxes": 0, "courier": None})

        counted = await asyncio.gather(*[work(url, person, stock.name, orders) for person in PEOPLE])
        print(f"{len(PEOPLE) * TURNS} edits of {ORDERS} orders by {len(PEOPLE)} people at once:")
        print(f"  {sum(each.merged for each in counted)} merged with what others did meanwhile")
        print(f"  {sum(each.conflicts for each in counted)} overlapped and were settled by rule")
        await choose_couriers(url, orders[0])

        await stock.refresh()
        wrong = missing(stock.value, [(await plait.doc(name)).value for name in orders])
        print("\n".join(wrong) or "Nothing was lost: the stock adds up, and every note is there once.")
        sys.exit(1 if wrong else 0)


async def work(url: str, person: str, stock: str, orders: list[str]) -> Counters:
    """Take things from shelves and write them into orders, as fast as it goes."""
    chance = Random(person)
    async with AsyncPlait(url, author=person) as plait:
        shelves = await plait.doc(stock)
        open_orders = [await plait.doc(name) for name in orders]
        for turn in range(TURNS):
            sku, count = chance.choice(list(SHELVES)), chance.randint(1, 3)
            await shelves.update(taking(sku, count))
            async with chance.choice(open_orders).edit(on_conflict=RULES) as draft:
                draft["lines"].append({"sku": sku, "n": count, "by": person})
                draft["notes"].append(f"{person} {turn}")
                draft["boxes"] = max(draft["boxes"], chance.randint(1, 99))
        return plait.counters


def taking(sku: str, count: int) -> Callable[[Any], None]:
    """A change that depends on what it reads: for `update`, which runs it again where others were faster."""

    def take(shelves: dict[str, int]) -> None:
        shelves[sku] -= count

    return take


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


def missing(stock: dict[str, int], orders: list[dict[str, Any]]) -> list[str]:
    """Say what does not add up."""
    left = Counter(stock)
    for line in (line for order in orders for line in order["lines"]):
        left[line["sku"]] += line["n"]
    notes = Counter(note for order in orders for note in order["notes"])
    written = Counter(f"{person} {turn}" for person in PEOPLE for turn in range(TURNS))
    return [f"The stock of {sku} does not add up." for sku in SHELVES if left[sku] != SHELVES[sku]] + [
        f"The note {note!r} is there {notes[note]} times." for note in notes | written if notes[note] != 1
    ]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
