"""The `plait` command as people run it: a process, its words, its exit code."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession

COMMAND = (sys.executable, "-m", "plait_server")
SERVE = ("serve", "--port", "0")


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a server that does start is a failure."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@asynccontextmanager
async def serving(folder: Path, *arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run a server; give the process and the URL it printed."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *SERVE, *arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            greeting = (await process.stdout.readline()).decode()
        yield process, greeting.split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await process.stdout.read()
        process._transport.close()  # type: ignore[attr-defined]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Check that a start was refused in one sentence, and give it."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("plait: ")]
    return sentence


def test_it_says_its_version(tmp_path: Path) -> None:
    assert re.fullmatch(r"plait \d+\.\d+\.\d+\n", run(tmp_path, "--version").stdout)


def test_help_names_every_flag_and_where_else_settings_come_from(tmp_path: Path) -> None:
    told = run(tmp_path, "serve", "--help").stdout
    for word in ("--host", "--port", "--db", "--config", "PLAIT_PORT", "plait.toml"):
        assert word in told


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "plait.toml").write_text('port = 1\nhost = "file"\ndepth_max = 5\n')
    shown = run(tmp_path, "config", "show", PLAIT_HOST="environment").stdout
    settings = tomllib.loads(shown)
    assert (settings["port"], settings["host"], settings["depth_max"]) == (1, "environment", 5)
    assert settings["db"] == "plait.db"


def test_what_config_show_prints_is_a_settings_file(tmp_path: Path) -> None:
    shown = run(tmp_path, "config", "show", PLAIT_PORT="99").stdout
    (tmp_path / "other.toml").write_text(shown)
    assert run(tmp_path, "config", "show", "--config", "other.toml").stdout == shown


@pytest.mark.parametrize("where", ["ann:secret@", ":se/cr@et@", "h?password=secret&user=", "secret@h?ssl="])
def test_no_password_is_shown(tmp_path: Path, where: str) -> None:
    """Neither where the URI is taken nor where it is refused."""
    shown = run(tmp_path, "config", "show", PLAIT_RATE_LIMIT_STORAGE=f"async+memory://{where}")
    assert tomllib.loads(shown.stdout)["rate_limit_storage"] == (
        "async+memory://" + re.sub(r".*@", "***@", re.sub(r"\?.*", "?***", where))
    )
    told = refusal(run(tmp_path, *SERVE, PLAIT_RATE_LIMIT_STORAGE=f"cupboard://{where}"))
    assert "'rate_limit_storage'" in told
    assert not re.search("secret|et@|password", told)


def test_an_unknown_setting_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "plait.toml").write_text("prot = 8080\n")
    assert "'prot'" in refusal(run(tmp_path, *SERVE))


def test_an_unknown_variable_is_refused_by_name_with_the_likely_one(tmp_path: Path) -> None:
    told = refusal(run(tmp_path, *SERVE, PLAIT_PROT="8080"))
    assert "'PLAIT_PROT'" in told
    assert "PLAIT_PORT?" in told
    assert "'PLAIT_COLOUR'" in refusal(run(tmp_path, *SERVE, PLAIT_COLOUR="blue"))


def test_variables_of_the_tests_are_not_settings(tmp_path: Path) -> None:
    shown = run(tmp_path, "config", "show", PLAIT_TEST_POSTGRES="x", PLAIT_FAULTS="thorough")
    assert shown.returncode == 0


def test_a_setting_without_sense_is_refused_by_name(tmp_path: Path) -> None:
    assert "'port'" in refusal(run(tmp_path, "serve", PLAIT_PORT="eighty"))
    assert "'port'" in refusal(run(tmp_path, "serve", PLAIT_PORT="99999"))


def test_a_file_that_is_no_toml_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plait.toml").write_text("port =\n")
    assert "TOML" in refusal(run(tmp_path, *SERVE))
    assert "no settings file" in refusal(run(tmp_path, *SERVE, "--config", "elsewhere.toml"))


async def test_a_port_in_use_is_refused_in_one_sentence(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, url):
        port = url.rpartition(":")[2]
        told = refusal(run(tmp_path, "serve", "--port", port, "--db", "other.db"))
    assert port in told
    assert "--port" in told
    assert not any(name.startswith("other.db") for name in os.listdir(tmp_path))


async def test_a_second_server_on_one_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    async with serving(tmp_path):
        assert "in use by another server" in refusal(run(tmp_path, *SERVE))


def test_a_host_that_is_not_here_is_refused_in_one_sentence(tmp_path: Path) -> None:
    assert "--host" in refusal(run(tmp_path, *SERVE, "--host", "192.0.2.1"))


def test_a_file_that_is_no_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "plait.db").write_text(
        "not a database, but long enough to look like a file of some kind\n" * 20
    )
    assert "plait.db" in refusal(run(tmp_path, *SERVE))


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A folder with a database that a server has made."""

    async def make() -> None:
        async with serving(tmp_path) as (process, _):
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0

    asyncio.run(make())
    return tmp_path


def test_a_newer_schema_is_refused_in_one_sentence(used: Path) -> None:
    with sqlite3.connect(used / "plait.db") as database:
        database.execute("UPDATE store SET schema_version = 999")
    database.close()
    assert "999" in refusal(run(used, *SERVE))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to what is read-only")
def test_a_read_only_database_is_refused_in_one_sentence(used: Path) -> None:
    (used / "plait.db").chmod(0o400)
    assert "plait.db" in refusal(run(used, *SERVE))


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGINT])
async def test_what_was_acknowledged_before_the_end_is_there_after_it(
    tmp_path: Path, ended_by: signal.Signals
) -> None:
    """Writers keep writing while the server is told to stop: it exits 0 and has every edit it answered."""
    acknowledged: list[str] = []
    async with serving(tmp_path) as (process, url), ClientSession(url) as client, asyncio.timeout(20):
        async with asyncio.TaskGroup() as writers:
            for _ in range(8):
                writers.create_task(_write_on(client, acknowledged))
            await _write_once(client)
            process.send_signal(ended_by)
        assert await process.wait() == 0
    assert acknowledged
    async with serving(tmp_path) as (_, url), ClientSession(url) as client:
        for place in acknowledged:
            async with client.get(place) as answer:
                assert answer.status == 200, place


async def _write_on(client: ClientSession, acknowledged: list[str]) -> None:
    try:
        while place := await _write_once(client):
            acknowledged.append(place)
    except ClientConnectionError:
        return


async def _write_once(client: ClientSession) -> str | None:
    """Create a document; None when the server says that it is closing."""
    async with client.post("/v1/docs/notes", json={}) as answer:
        assert answer.status in (201, 503)
        return answer.headers.get("Location")


def test_a_command_for_files_waits_for_nothing_a_server_needs(tmp_path: Path) -> None:
    looked = f"""
import atexit, sys
sys.argv = ["plait", "diff", {str(tmp_path / "a.json")!r}, {str(tmp_path / "a.json")!r}]
atexit.register(lambda: print(*sys.modules))
from plait_server.command import main
main()
"""
    (tmp_path / "a.json").write_text("{}")
    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert "plait_client.command.diff" in imported
    assert not imported & {"aiohttp", "plait_server.operation", "pydantic", "tenacity", "typer"}


async def test_it_says_where_it_is_and_how_to_try_it(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *SERVE, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    told = [(await process.stdout.readline()).decode() for _ in range(5)]
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert re.match(r"Plait \S+ serves plait\.db on http://127\.0\.0\.1:\d+\n", told[0])
    assert "/openapi.json" in told[1]
    assert "curl" in told[3]
    document = told[3].rpartition("-d ")[2].strip().strip("'")
    assert json.loads(document)
