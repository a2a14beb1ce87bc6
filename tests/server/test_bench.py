"""`plait bench` as people run it: tiny loads on real servers, and what goes wrong with servers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from aiohttp import ClientSession, web
from typer.testing import CliRunner

from plait_server.bench import bench as bench_command
from plait_server.bench.connection import BadUrl, Connection, read_url
from plait_server.bench.load import Load
from plait_server.bench.report import Report, told
from plait_server.bench.run import BenchRefused, Plan, bench
from plait_server.bench.workload import WORKLOADS
from server.faults.serving import Server, start_server

Serve = Callable[..., Awaitable[ClientSession]]
TINY = Plan("mixed", writers=4, documents=5, edits=60, size_bytes=500, subscribers=2)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "plait_server", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """The real server, in a process of its own."""
    running = await start_server(tmp_path, ("--port", "0"))
    yield running
    if running.process.returncode is None:
        await running.kill()


def url_of(client: ClientSession) -> str:
    return str(client._base_url).rstrip("/")


async def held(plan: Plan) -> Report:
    """Run a plan in which nothing may go wrong."""
    report = await bench(plan)
    assert report.holds, told(report)
    assert report.is_complete, told(report)
    return report


# ------------------------------------------------------------------------------------------- what it does


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_every_workload_is_done_and_read_back(client: ClientSession, workload: str) -> None:
    plan = replace(TINY, workload=workload, url=url_of(client))
    if workload in ("hot", "fan-out"):
        plan = replace(plan, documents=None)
    report = await held(plan)
    verdict, tally = report.verdict, report.tally
    assert verdict is not None
    assert verdict.acknowledged == verdict.revisions == tally.acknowledged + report.documents
    assert report.delivery.revisions > 0
    if workload not in ("mixed", "overlapping"):
        assert (tally.acknowledged, tally.attempts, tally.conflicts) == (60, 60, 0)


async def test_the_mixed_load_has_everything_in_it(client: ClientSession) -> None:
    tally = (await held(replace(TINY, url=url_of(client), edits=400))).tally
    assert min(tally.batches, tally.queued, tally.leases, tally.reads, tally.conflicts) > 0
    assert not tally.refused


async def test_one_edit_that_is_overtaken_is_tried_again(client: ClientSession) -> None:
    tally = (await held(replace(TINY, workload="overlapping", documents=1, url=url_of(client)))).tally
    assert tally.conflicts > 0
    assert tally.attempts == tally.acknowledged + tally.conflicts


async def test_its_own_documents_are_deleted_afterwards(client: ClientSession) -> None:
    await held(replace(TINY, url=url_of(client), collection="trial"))
    assert await listed(client, "trial") == 0
    report = await held(replace(TINY, url=url_of(client), collection="trial", keep=True))
    assert await listed(client, "trial") == report.documents_left == 5


async def listed(client: ClientSession, collection: str) -> int:
    async with client.get(f"/v1/docs/{collection}") as answer:
        return len((await answer.json())["documents"])


async def test_cpu_time_is_that_of_whatever_listens_there(server: Server) -> None:
    found = await held(replace(TINY, url=server.url))
    named = await held(replace(TINY, url=server.url, pid=server.pid))
    wrong = await held(replace(TINY, url=server.url, pid=2**22 + 1))
    assert found.cpu_us is not None
    assert named.cpu_us is not None
    assert wrong.cpu_us is None
    assert "is not there" in told(wrong)


def test_without_a_url_it_starts_a_server_and_says_so() -> None:
    done = command("--edits", "40", "--workload", "hot", "--writers", "3", "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["own_server"]
    assert report["acknowledged"] == 40
    assert report["lost"] == 0
    assert report["check"]["holds"]
    assert report["server_cpu_us_per_edit"] > 0
    assert report["p50_ms"] <= report["p99_ms"] <= report["max_ms"]
    (sentence,) = done.stderr.splitlines()
    assert "a server of its own" in sentence


def test_the_report_for_people_ends_with_the_verdict(tmp_path: Path) -> None:
    done = command("--edits", "10", "--json", str(tmp_path / "report.json"))
    assert done.returncode == 0, done.stderr
    for word in ("10,", "attempts an edit     1.0", "p99", "µs", "lost 0", "exactly once."):
        assert word in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())["attempts"] == 10


# ------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--workload", "everything"), "'distinct', 'hot'"),
        (("--edits", "5", "--duration-s", "5"), "not both"),
        (("--pid", "1"), "--url"),
        (("--writers", "0"), "--writers"),
        (("--url", "ftp://here"), "no URL of a server"),
        (("--url", "http://127.0.0.1:1"), "Connection refused"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(options: tuple[str, ...], word: str) -> None:
    program = typer.Typer()
    program.command()(bench_command)
    done = CliRunner().invoke(program, options)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert word in " ".join(done.stderr.split())


async def test_what_the_server_does_not_take_is_refused_in_words(client: ClientSession) -> None:
    with pytest.raises(BenchRefused, match="does not create documents in No: not-found"):
        await bench(replace(TINY, url=url_of(client), collection="No"))
    with pytest.raises(BenchRefused, match="documents of 1048576 bytes"):
        await bench(replace(TINY, url=url_of(client), size_bytes=9_999_999))


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "http://", "http://a:b@c", "http://[::1", "http://a/?q", "http://a b", "http://a:x"],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        read_url(url)


def test_a_url_may_have_a_prefix_and_the_version() -> None:
    assert read_url("http://[::1]:8080/docs/v1/").url == "http://[::1]:8080/docs"
    assert read_url("https://example.org").port == 443


async def test_another_server_is_told_from_one_that_is_meant() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="hello")

    async with serving(answer) as url:
        with pytest.raises(BenchRefused, match="is no Plait server"):
            await bench(replace(TINY, url=url))


async def test_answers_in_chunks_are_read() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Plait-Revision": "3"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for part in (b'{"a":', b'"' + b"x" * 100_000 + b'"', b"}"):
            await response.write(part)
        return response

    async with serving(answer) as url:
        connection = Connection(read_url(url))
        for _ in range(2):
            read = await connection.ask("GET", "/")
            assert (read.status, read.header("plait-revision")) == (200, "3")
            assert read.body() == {"a": "x" * 100_000}
        connection.close()


async def test_a_quota_is_waited_out(serve: Serve) -> None:
    client = await serve(rate_limit_tenant="60/second")
    report = await held(replace(TINY, workload="distinct", subscribers=0, url=url_of(client)))
    assert report.tally.sent_again["quota-exceeded"] > 0
    assert report.tally.acknowledged == 60


async def test_ctrl_c_ends_the_writing_and_what_was_done_is_checked(client: ClientSession) -> None:
    def interrupt(load: Load, seconds: float) -> None:
        if load.tally.acknowledged:
            os.kill(os.getpid(), signal.SIGINT)

    report = await bench(replace(TINY, edits=None, duration_s=60, url=url_of(client)), interrupt)
    assert report.seconds < 30
    assert report.holds
    assert report.is_complete
    assert report.stopped_by == "It was interrupted."


async def test_a_server_that_dies_ends_the_run_with_what_is_known(server: Server) -> None:
    def kill(load: Load, seconds: float) -> None:
        if load.tally.acknowledged and server.process.returncode is None:
            server.process.send_signal(signal.SIGKILL)

    report = await bench(replace(TINY, edits=None, duration_s=60, url=server.url), kill)
    assert report.tally.acknowledged > 0
    assert report.tally.cut > 0
    assert report.lost is None
    assert not report.is_complete
    assert "the server is gone" in told(report)


async def test_a_server_that_comes_back_has_everything_that_was_acknowledged(
    server: Server, tmp_path: Path
) -> None:
    """Killed in the middle, started again: what had no answer is sent again under its key, once."""
    begun = asyncio.Event()
    plan = replace(TINY, edits=600, url=server.url)
    running = asyncio.create_task(bench(plan, lambda load, seconds: begun.set()))
    await begun.wait()
    await server.kill()
    again = await start_server(tmp_path, ("--port", str(server.address[1])))
    try:
        report = await running
    finally:
        await again.kill()
    assert report.tally.cut > 0
    assert report.holds, told(report)
    assert report.is_complete, told(report)


# ------------------------------------------------------------------------------------------- servers that lie

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Handler) -> AsyncIterator[str]:
    """Serve something else."""
    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


class Liar:
    """Stands before a real server and, once, does something else with an edit."""

    def __init__(self, client: ClientSession, lie: Callable[["Liar", web.Request], Awaitable[Any]]) -> None:
        self.client = client
        self._lie = lie
        self._edits = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self._edits += request.method == "PATCH"
        if request.method == "PATCH" and self._edits == 10:
            body: Any = await self._lie(self, request)
            return web.json_response(body)
        return await self.passed(request)

    async def passed(self, request: web.Request, **headers: str) -> web.Response:
        sent = {**request.headers, **headers}
        body = await request.read()
        async with self.client.request(
            request.method, request.path_qs, data=body, headers=sent, skip_auto_headers=["Content-Type"]
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.startswith("Plait-")}
            return web.Response(
                status=answer.status, body=await answer.read(), headers=kept, content_type="application/json"
            )


async def forget(liar: Liar, request: web.Request) -> Any:
    """Acknowledge an edit that was never made."""
    name = request.path.removeprefix("/v1/docs/")
    patch = json.loads(await request.read())
    return {"document": name, "revision": 1_000, "outcome": "applied", "patch": patch, "missed": []}


async def invent(liar: Liar, request: web.Request) -> Any:
    """Make an edit as it was asked for, and another one that nobody asked for."""
    answer = await liar.passed(request)
    (operation,) = json.loads(await request.read())
    headers = {"Content-Type": "application/json-patch+json"}
    await liar.client.patch(request.path, data=json.dumps([{**operation, "value": -1}]), headers=headers)
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


async def change(liar: Liar, request: web.Request) -> Any:
    """Acknowledge another edit than the one that was made."""
    answer = await liar.passed(request)
    assert isinstance(answer.body, bytes)
    body = json.loads(answer.body)
    return {**body, "patch": [{**body["patch"][0], "value": 0}]}


@pytest.mark.parametrize(
    ("lie", "wrong"),
    [(forget, {"missing": 1}), (invent, {"unasked": 1}), (change, {"missing": 1})],
)
async def test_a_server_that_lies_is_found_out(
    client: ClientSession, lie: Callable[[Liar, web.Request], Awaitable[Any]], wrong: dict[str, int]
) -> None:
    plan = replace(TINY, workload="distinct", writers=1, documents=1, edits=12, subscribers=0)
    async with serving(Liar(client, lie).answer) as url:
        report = await bench(replace(plan, url=url))
    assert report.verdict is not None
    found = report.verdict.as_json()
    assert {name: found[name] for name in wrong} == wrong
    assert not report.holds
    assert "this is a bug" in told(report)
