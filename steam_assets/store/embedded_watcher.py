"""Stops the embedded server when its last client has left, however it left. Started by embedded.py, as a script.

Every client holds a shared lock on one file; the kernel releases it when the process ends, also by SIGKILL. This
process waits for the exclusive lock, which it gets when no client is left. Clients that come then wait for it.
"""

import fcntl
import json
import os
import subprocess
import sys


def main(presence: str, clients: str, stop: str) -> None:
    """Wait for the lock on ``clients``, then run ``stop``: JSON of subprocess.run's arguments."""
    with open(presence, "w") as here, open(clients) as waiting:  # noqa: PTH123 (a script that imports little)
        try:
            fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        fcntl.flock(waiting, fcntl.LOCK_EX)
        try:
            same = os.path.samestat(os.fstat(waiting.fileno()), os.stat(clients))  # noqa: PTH116
        except FileNotFoundError:
            same = False
        if same:  # otherwise the directory was deleted, and what is there now is another server's
            subprocess.run(**json.loads(stop), check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
