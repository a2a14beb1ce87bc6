"""The client without a loop: a script that counts its runs, and shows what happened to the document.

    python examples/sync_script.py http://127.0.0.1:8080

Run it twice, or ten times at once: `update` reads and writes as one step, so every run has a number of its
own.
"""

import os
import sys

from plait_client import Plait


def main(url: str = "http://127.0.0.1:8080") -> None:
    with Plait(url, author=f"script-{os.getpid()}") as plait:
        doc = plait.doc("runs/sync-script", default={"runs": 0, "last": None, "log": []})
        before = doc.revision

        doc.update(lambda draft: draft.update(runs=draft["runs"] + 1))  # strictly: runs again if overtaken
        run = doc.value["runs"]
        with doc.edit(message=f"run {run}") as draft:  # merged with what others do
            draft["log"].append(f"run {run} by {os.getpid()}")
        print(f"run {run}")

        doc.set("/log/0", "a mistake")
        doc.undo()

        for change in doc.changes(since=before):
            print(f"revision {change.revision} by {change.author}: {change.patch}")
            if change.revision >= doc.revision:
                break
        print(f"{sum(1 for _ in doc.history('/log'))} revisions touched the log so far")


if __name__ == "__main__":
    main(*sys.argv[1:])
