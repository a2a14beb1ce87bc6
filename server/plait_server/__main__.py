"""`python -m plait_server` is the `plait` command."""

from plait_server.command import main

main()
