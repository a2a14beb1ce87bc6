"""Whose turn it is: tenants in turn, and the documents of each in turn."""

from plait_server.service.rota import Rota
from plait_server.store import Address


def names(rota: Rota) -> list[str]:
    taken = []
    while (address := rota.next()) is not None:
        taken.append(f"{address.tenant}{address.id}")
    return taken


def test_a_tenant_with_many_documents_holds_up_no_other() -> None:
    rota = Rota()
    for tenant, documents in (("a", "1234"), ("b", "1"), ("c", "12")):
        for document in documents:
            rota.add(Address(tenant, "orders", document))
    assert names(rota) == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]


def test_whoever_had_a_turn_comes_after_those_who_wait() -> None:
    rota = Rota()
    for document in ("1", "2"):
        rota.add(Address("a", "orders", document))
    first = rota.next()
    assert first is not None
    rota.add(first)
    assert names(rota) == ["a2", "a1"]


def test_nobody_waits_in_an_empty_one() -> None:
    assert Rota().next() is None
