#!/usr/bin/env python3
"""From a bare machine to a running environment: virtual environment, torch, packages; then it hands over.

Standard library only; any Python from 3.6 on can read this file, to be told that it is too old. How the environment is
made is in environment.py; what the platform does once it is installed is not here.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this is the check itself
    from shutil import which

    newer = [name for name in ("python3.13", "python3.12", "python3.11") if which(name)]
    found = f"Found Python {sys.version_info[0]}.{sys.version_info[1]} ({sys.executable}); expected 3.11 or newer. "
    advice = "Install it (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv) and run this file with it."
    sys.stderr.write(found + ("Run: " + " ".join(newer[:1] + sys.argv) if newer else advice) + "\n")
    sys.exit(2)

import argparse
import logging
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from infra.environment import ROOT, prepare
from infra.shell_alias import add_alias
from infra.torch_build import TORCH_INDEX, BootstrapError, log

LINTERS = (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("pyright",))


def main(arguments: Sequence[str]) -> int:
    """Prepare the environment, then become the command that was asked for."""
    options, passed_on = parse(arguments)
    directory = Path(options.venv).absolute()
    prepare(directory, options.torch, options.torch_index, with_tests=options.verb == "test")
    if options.alias:
        add_alias(options.alias, directory)
    # What is run finds the environment's other commands, as after `activate`.
    os.environ.update(VIRTUAL_ENV=str(directory), PATH=f"{directory / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    os.environ.pop("PYTHONHOME", None)
    if options.verb == "test":
        return run_tests(directory, passed_on, everything=options.all)
    verb = "doctor" if options.verb == "setup" else options.verb
    return os.execv(directory / "bin" / "steam-assets", ["steam-assets", verb, *passed_on])  # noqa: S606 - no shell wanted


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and those that are passed on."""
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--venv", metavar="DIR", default=ROOT / ".venv", help="the virtual environment (.venv)")
    common.add_argument("--torch", metavar="BUILD", help="auto, cpu, cuda or e.g. cu126 (as last time, else auto)")
    common.add_argument("--torch-index", metavar="URL", default=TORCH_INDEX, help="a mirror of PyTorch's wheels")
    common.add_argument("--alias", metavar="NAME", help="add a shell alias NAME that activates the environment")
    parser = argparse.ArgumentParser(description="Set steam_assets up, then run it.", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="setup|demo|up|test")
    for verb, does in (
        ("setup", "install, then say what works: `steam-assets doctor`"),
        ("demo", "install, then embed sample data: `steam-assets demo`, which gets all other options"),
        ("up", "install, then start the web UI: `steam-assets up`, which gets all other options"),
        ("test", "install, then run the tests: pytest gets all other options"),
    ):
        described = verbs.add_parser(verb, help=does, description=does, parents=[common], allow_abbrev=False)
        if verb == "test":
            described.add_argument("--all", action="store_true", help="slow tests, linters and type checkers too")
    options, passed_on = parser.parse_known_args(arguments)
    if options.verb == "setup" and passed_on:
        parser.error(f"setup takes no {' '.join(passed_on)}")
    if options.torch and not re.fullmatch(r"auto|cpu|cuda|cu\d{3}", options.torch):
        parser.error(f"--torch is {options.torch!r}; expected auto, cpu, cuda, or a CUDA build such as cu126")
    return options, passed_on


def run_tests(directory: Path, passed_on: Sequence[str], *, everything: bool) -> int:
    """pytest comes last, so that its closing line is the end of the output; the first failure's exit code is kept."""
    python = str(directory / "bin" / "python")
    codes = [run([python, "-m", *linter]) for linter in LINTERS] if everything else []
    selected = ["-m", "not gpu"] if everything else []
    codes.append(run([python, "-m", "pytest", *selected, *passed_on]))
    for linter, code in zip(LINTERS, codes, strict=False):
        if everything and code:
            log.info("Failed before the tests: %s", " ".join(linter))
    return next((code for code in codes if code), 0)


def run(command: Sequence[str]) -> int:
    """Run in the checkout and wait, through Ctrl-C too: the command gets that as well and cleans up in its own time."""
    log.info("$ %s", shlex.join(["python", *command[1:]]))
    # pyright's wrapper would ask the npm registry for newer versions.
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue
        except SystemExit:
            process.terminate()


def leave(number: int, _frame: object) -> NoReturn:
    """A signal ends us as an exception does, so that pip is ended with us."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    # stderr: stdout belongs to the command that is handed over to.
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, leave)
    try:
        sys.exit(main(sys.argv[1:]))
    except BootstrapError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
