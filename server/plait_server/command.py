"""The `plait` command: the client's commands for files, and what an operator runs.

git runs `plait merge` once per file, so a command for files never waits for what only a server needs.
"""

import importlib
import importlib.util
import sys

from plait_client import command as files


def main() -> None:
    """Run the command; the entry point of the console script."""
    asked, *arguments = sys.argv[1:] or [""]
    if asked in files.COMMANDS:
        sys.exit(files.run(asked, arguments))
    operation = importlib.import_module("plait_server.operation")
    files.register(operation.command)
    importlib.import_module("plait_server.data").register(operation.command)
    operation.command.command("bench")(importlib.import_module("plait_server.bench").bench)
    if importlib.util.find_spec("plait_server.demo") is not None:
        operation.command.command("demo")(importlib.import_module("plait_server.demo").demo)
    operation.command()
