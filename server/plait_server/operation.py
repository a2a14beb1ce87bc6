"""What an operator runs: serve, show the settings, say the version."""

import asyncio
import errno
import importlib
import importlib.util
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from aiohttp import web

from plait_server.config import ConfigError, Settings, load, without_passwords
from plait_server.errors import StoreRefused
from plait_server.service import Service
from plait_server.store.sqlite import SqliteStore
from plait_server.web.application import create_app, service_limits
from plait_server.web.connections import Runner

command = typer.Typer(
    name="plait",
    help="Plait: JSON documents that many people edit at the same time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_command = typer.Typer(help="Look at the settings.", no_args_is_help=True)
command.add_typer(config_command, name="config")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file.", show_default="plait.toml if it is there")
]


class StartRefused(Exception):
    """The server cannot start; the message is one sentence for an operator."""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"plait {version('plait')}")
        raise typer.Exit


@command.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@command.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default="8080")
    ] = None,
    db: Annotated[
        Path | None, typer.Option(help="SQLite file; made when it is not there.", show_default="plait.db")
    ] = None,
    config: ConfigFile = None,
    document_bytes_max: Annotated[
        int | None, typer.Option(help="Largest document, as JSON.", show_default="1048576")
    ] = None,
    patch_bytes_max: Annotated[
        int | None, typer.Option(help="Largest body of a PATCH.", show_default="262144")
    ] = None,
    body_timeout_s: Annotated[
        float | None, typer.Option(help="Until a request body is complete.", show_default="30")
    ] = None,
    shutdown_timeout_s: Annotated[
        float | None,
        typer.Option(help="Until the last requests are given up.", show_default="8"),
    ] = None,
    access_log: Annotated[
        bool | None, typer.Option(help="Log a line per request.", show_default="no")
    ] = None,
) -> None:
    """Serve documents over HTTP until SIGTERM or Ctrl-C.

    Every setting can also stand in the environment (PLAIT_PORT=9000) or in plait.toml (port = 9000);
    a flag wins over the environment, the environment over the file. `plait config show` lists them all.

    At the end no new request is taken, what was taken is finished and acknowledged, and the exit code is 0.
    """
    flags = {name: value for name, value in locals().items() if name != "config"}
    settings = _settings(flags, config)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings))
    except (StoreRefused, StartRefused) as refusal:
        _refuse(str(refusal))


@config_command.command("show")
def show_config(config: ConfigFile = None) -> None:
    """Show the effective settings as TOML: what environment, file and defaults come to.

    Passwords in a URI are shown as ***.
    """
    settings = _settings({}, config)
    for name, field in Settings.model_fields.items():
        typer.echo(f"{name} = {_toml(getattr(settings, name))}  # {field.description}")


def _settings(flags: dict[str, Any], file: Path | None) -> Settings:
    try:
        return load(flags, file)
    except ConfigError as error:
        _refuse(str(error))


def _refuse(sentence: str) -> NoReturn:
    typer.echo(f"plait: {sentence}", err=True)
    raise typer.Exit(1)


def _toml(value: object) -> str:
    known = value if isinstance(value, bool | int | float) else without_passwords(str(value))
    return json.dumps(known, ensure_ascii=False)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    return factory


async def _serve(settings: Settings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signalled in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signalled, stopped.set)
    await _try_address(settings)
    store = await SqliteStore.open(
        settings.db,
        conflicts_open_max=settings.conflicts_open_max,
        conflicts_open_bytes_max=settings.conflicts_open_bytes_max,
    )
    service = await Service.open(store, limits=service_limits(settings))
    runner = Runner(create_app(service, settings), settings)
    try:
        await runner.setup()
        await _listen(runner, settings)
        _greet(runner.addresses[0], settings)
        await stopped.wait()
    finally:
        await runner.cleanup()


async def _try_address(settings: Settings) -> None:
    """Refuse to start where nobody could listen, before a database is made there for nothing."""
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(asyncio.Protocol, settings.host, settings.port, start_serving=False)
    except OSError as error:
        raise StartRefused(_why_not_listening(error, settings)) from error
    server.close()
    await server.wait_closed()


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        raise StartRefused(_why_not_listening(error, settings)) from error


def _why_not_listening(error: OSError, settings: Settings) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {settings.port} on {settings.host} is in use; stop what listens there, "
            "or choose another with --port."
        )
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{settings.host} is no address of this machine; choose one with --host."
    return f"Listening on {settings.host}, port {settings.port}, is refused: {error.strerror}."


def _greet(address: tuple[Any, ...], settings: Settings) -> None:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    url = f"http://{host}:{address[1]}"
    print(
        f"Plait {version('plait')} serves {settings.db} on {url}\n"
        f"  contract   {url}/v1   {url}/openapi.json\n"
        f"  health     {url}/healthz   {url}/readyz\n"
        "  try it     "
        f"curl -X PUT {url}/v1/docs/notes/first -H 'If-None-Match: *' "
        "-H 'Content-Type: application/json' -d '{\"title\": \"Hello\"}'\n"
        "  stop       Ctrl-C",
        flush=True,
    )
    sys.stdout.flush()
