"""A shell alias that activates the environment. No shell file is touched by anything else here."""

import os
import re
import shlex
from pathlib import Path

from infra.torch_build import BootstrapError, log

MARK = "  # steam_assets"


def add_alias(name: str, directory: Path) -> None:
    """One line in the shell's start file; the same line twice is one line, another's alias of that name is kept."""
    if not re.fullmatch(r"[A-Za-z_][\w-]*", name):
        raise BootstrapError(f"--alias is {name!r}; expected a word of letters, digits, - and _.")
    shell = Path(os.environ.get("SHELL") or "bash").name
    start_files = {
        "bash": ("~/.bashrc", "activate"),
        "zsh": (os.environ.get("ZDOTDIR", "~") + "/.zshrc", "activate"),
        "fish": ("~/.config/fish/config.fish", "activate.fish"),
    }
    if shell not in start_files:
        raise BootstrapError(
            f"SHELL is {shell}; --alias knows {', '.join(start_files)}. Use: . {directory}/bin/activate"
        )
    start_file, script = start_files[shell]
    path = Path(start_file).expanduser()
    alias = f"alias {name}=" + shlex.quote("source " + shlex.quote(str(directory / "bin" / script))) + MARK
    lines = path.read_text(errors="surrogateescape").splitlines() if path.exists() else []
    same_name = [line for line in lines if line.strip().startswith((f"alias {name}=", f"alias {name} "))]
    if alias in same_name:
        return
    others = [line for line in same_name if not line.endswith(MARK)]
    if others:
        raise BootstrapError(f"{path} has its own {others[0].strip()!r}. Choose another name: --alias NAME")
    kept = [line for line in lines if line not in same_name]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*kept, alias, ""]), errors="surrogateescape")
    log.info("%s: added %s. It is known in new shells.", path, name)
