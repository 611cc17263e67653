"""The bootstrap, run for real on a miniature checkout: environments made, redone, left alone, handed over."""

import ast
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steam_assets_tests.miniature_checkout import INFRA, served, write_checkout, write_indexes

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bootstrap.py of a miniature checkout, in a directory whose name has a space."""
    return write_checkout(tmp_path_factory.mktemp("mini") / "the checkout")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables under which pip sees only our two indexes and there is no NVIDIA driver."""
    directory = tmp_path_factory.mktemp("indexes")
    write_indexes(directory)
    with served(directory) as address:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "VIRTUAL"))}
        yield {
            **kept,
            "PATH": "/usr/bin:/bin",
            "HOME": str(directory),
            "SHELL": "/bin/bash",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"{address}/simple",
            "TORCH_INDEX": f"{address}/pytorch",
        }


@pytest.fixture(scope="module")
def run(bootstrap: Path, environment: dict[str, str]) -> Run:
    """Run bootstrap.py with arguments, and with variables on top of the environment."""

    def run_bootstrap(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        verb, *rest = map(str, arguments)
        index = ["--torch-index", environment["TORCH_INDEX"]] if verb.isalpha() else []
        command = [sys.executable, str(bootstrap), verb, *index, *rest]
        return subprocess.run(
            command, env={**environment, **variables}, capture_output=True, text=True, check=False, timeout=120
        )

    return run_bootstrap


@pytest.fixture(scope="module")
def made(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that `setup` made, in a directory whose name has a space."""
    venv = tmp_path_factory.mktemp("made") / "the venv"
    done = run("setup", "--venv", venv)
    assert (done.returncode, done.stdout) == (0, f"called doctor in {venv}\n"), done.stderr
    return venv


def torch_of(venv: Path) -> str:
    """The version of torch in an environment."""
    command = [str(venv / "bin" / "python"), "-c", "import torch; print(torch.__version__)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_setup_takes_the_cpu_build_where_there_is_no_gpu(made: Path) -> None:
    """Not the larger CUDA build that the package index has under the same version."""
    assert torch_of(made) == "2.13.0+cpu"


def test_a_second_run_hands_over_at_once(run: Run, made: Path) -> None:
    """With nothing to do it takes under 3 s, says nothing, passes options on, and keeps the exit code."""
    started = time.monotonic()
    done = run("demo", "--exit", "--venv", made, "--data", "a file.csv", EXIT_WITH="17")
    assert time.monotonic() - started < 3
    assert (done.returncode, done.stderr) == (17, "")
    assert done.stdout == f"called demo --exit --data a file.csv in {made}\n"


def test_help_is_instant(run: Run) -> None:
    """--help answers within a second, from the program and from a verb, and makes nothing."""
    started = time.monotonic()
    assert "setup|demo|up|test" in run("--help").stdout
    assert "steam-assets demo" in run("demo", "--help").stdout
    assert time.monotonic() - started < 2


def test_tests_and_linters_report_and_the_first_failure_is_the_exit_code(run: Run, made: Path) -> None:
    """`test` adds what the tests need; with --all linters come first, a failing one stops nothing, pytest ends it."""
    done = run("test", "--venv", made, "-k", "not this")
    assert (done.returncode, done.stdout) == (0, "ran pytest -k not this\n"), done.stderr

    done = run("test", "--all", "--venv", made, mypy_EXITS_WITH="3", pytest_EXITS_WITH="1")
    ran = ["ran ruff check", "ran ruff format --check", "ran mypy", "ran pyright", "ran pytest -m not gpu"]
    assert (done.returncode, done.stdout.splitlines()) == (3, ran)
    assert "Failed before the tests: mypy" in done.stderr
    assert run("test", "--venv", made, pytest_EXITS_WITH="5").returncode == 5


@pytest.mark.slow
def test_what_is_not_asked_for_again_stays(run: Run, tmp_path: Path) -> None:
    """A build of torch chosen once is kept by later runs; choosing another makes the environment anew."""
    venv = tmp_path / "venv"
    assert run("setup", "--venv", venv, "--torch", "cu126").returncode == 0
    assert torch_of(venv) == "2.13.0+cu126"
    assert run("up", "--venv", venv).stderr == ""

    done = run("up", "--venv", venv, "--torch", "cpu")
    assert (done.returncode, torch_of(venv)) == (0, "2.13.0+cpu"), done.stderr
    assert not list(venv.glob("lib/*/site-packages/nvidia_cublas*"))


@pytest.mark.slow
def test_killed_at_any_step_the_next_run_ends_with_a_whole_environment(
    bootstrap: Path, environment: dict[str, str], run: Run, tmp_path: Path
) -> None:
    """kill -9 while the environment is made or pip installs: the next run waits for what is left, and redoes it."""
    venv = tmp_path / "venv"
    command = [sys.executable, str(bootstrap), "setup", "--venv", str(venv)]
    command += ["--torch-index", environment["TORCH_INDEX"]]
    for step in ("Installing virtual environment", "Installing torch", "Installing steam-assets"):
        killed = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert killed.stderr is not None
        assert any(line.startswith(step) for line in killed.stderr), f"never came to {step}"
        time.sleep(0.3)
        killed.kill()
        killed.wait()
        killed.stderr.close()
    done = run("setup", "--venv", venv)
    assert (done.returncode, done.stdout) == (0, f"called doctor in {venv}\n"), done.stderr
    assert torch_of(venv) == "2.13.0+cpu"


def test_terminated_it_leaves_no_pip_behind(bootstrap: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM ends the step that runs, and the exit code says so."""
    venv = tmp_path / "venv"
    command = [sys.executable, str(bootstrap), "setup", "--venv", str(venv)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Installing virtual environment")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 128 + signal.SIGTERM
    process.stderr.close()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(venv) not in running


@pytest.mark.slow
def test_new_requirements_that_cannot_be_had_leave_what_was_there(run: Run, bootstrap: Path, made: Path) -> None:
    """Offline after a pull: pip's words and exit code are kept, and so is the environment; the next run adds to it."""
    before = (made / "pyvenv.cfg").stat().st_mtime_ns
    pyproject = bootstrap.parent.parent / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + "# pulled\n")
    backend = pyproject.with_name("backend.py")
    told = backend.read_text()
    backend.write_text(told.replace("Requires-Dist: torch", "Requires-Dist: torch\nRequires-Dist: nvidia-cublas"))

    done = run("up", "--venv", made, PIP_INDEX_URL="http://127.0.0.1:1/simple", PIP_RETRIES="0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nvidia-cublas" in done.stderr  # pip's own words
    assert "Installing steam-assets and what it needs failed (exit 1)" in done.stderr
    assert torch_of(made) == "2.13.0+cpu"
    assert run("up", "--venv", made).returncode == 0
    assert list(made.glob("lib/*/site-packages/nvidia_cublas.py"))
    assert (made / "pyvenv.cfg").stat().st_mtime_ns == before


def test_a_directory_that_is_no_environment_is_left_alone(run: Run, tmp_path: Path) -> None:
    """--venv on somebody's folder is an error that names what is in it, and nothing in it changes."""
    (tmp_path / "thesis.tex").write_text("years of work")
    done = run("setup", "--venv", tmp_path)
    assert done.returncode == 2
    assert "thesis.tex" in done.stderr
    assert "--venv DIR" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_an_environment_of_the_users_own_is_added_to_never_emptied(run: Run, tmp_path: Path) -> None:
    """An existing virtual environment keeps what it has."""
    venv = tmp_path / "mine"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    (venv / "my notes").write_text("keep")
    done = run("setup", "--venv", venv)
    assert (done.returncode, torch_of(venv)) == (0, "2.13.0+cpu"), done.stderr
    assert run("setup", "--venv", venv, "--torch", "cu126").returncode == 0
    assert (venv / "my notes").read_text() == "keep"


def test_the_alias_is_one_line_however_often_it_is_asked_for(run: Run, made: Path, tmp_path: Path) -> None:
    """Only --alias touches the shell's file; a moved environment replaces the line, the user's own lines stay."""
    shell_file = tmp_path / ".bashrc"
    shell_file.write_text("export EDITOR=vi")
    shell_file.chmod(0o600)
    for _ in range(2):
        assert run("setup", "--venv", made, "--alias", "steam", HOME=str(tmp_path)).returncode == 0
    lines = shell_file.read_text().splitlines()
    assert (len(lines), lines[0]) == (2, "export EDITOR=vi")
    assert stat.S_IMODE(shell_file.stat().st_mode) == 0o600

    script = f"shopt -s expand_aliases\n. {shell_file}\nsteam\necho $VIRTUAL_ENV"
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == f"{made}\n"


def test_an_alias_that_is_the_users_own_is_kept(run: Run, made: Path, tmp_path: Path) -> None:
    """A name that is taken, or is no name, is an error, and the shell's file stays as it is."""
    shell_file = tmp_path / ".bashrc"
    shell_file.write_text("alias steam='flatpak run steam'\n")
    for name in ("steam", "st eam"):
        done = run("setup", "--venv", made, "--alias", name, HOME=str(tmp_path))
        assert (done.returncode, "--alias" in done.stderr) == (2, True)
    assert shell_file.read_text() == "alias steam='flatpak run steam'\n"


@pytest.mark.parametrize(
    "arguments", [("setup", "--torch", "cuda13"), ("setup", "--exit"), ("install",), ("setup", "--ven", "x")]
)
def test_wrong_usage_is_exit_2(run: Run, arguments: tuple[str, ...]) -> None:
    """An unknown build, option or verb is refused before anything is made."""
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_an_old_python_is_told_what_to_run() -> None:
    """Before 3.11 it says what was found and expected, exit 2, though old Pythons know none of the newer syntax."""
    file = INFRA / "bootstrap.py"
    ast.parse(file.read_text(), feature_version=(3, 7))
    pretend = (
        "import runpy, sys; sys.version_info = (3, 9, 2, 'final', 0); sys.argv = ['bootstrap.py', 'demo'];"
        f"runpy.run_path({str(file)!r}, run_name='__main__')"
    )
    told = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "Found Python 3.9" in told.stderr
    assert "expected 3.11 or newer" in told.stderr
    assert "bootstrap.py demo" in told.stderr or "apt-get install python3" in told.stderr


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_names_the_package_to_install(module: str, tmp_path: Path) -> None:
    """Debian ships Python without them; the error names the package, exit 2."""
    without = (
        f"import runpy, sys; sys.modules[{module!r}] = None;"
        f"sys.argv = ['bootstrap.py', 'setup', '--venv', {str(tmp_path / 'venv')!r}];"
        f"runpy.run_path({str(INFRA / 'bootstrap.py')!r}, run_name='__main__')"
    )
    told = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert f"no module {module}" in told.stderr
    assert f"apt-get install python3.{sys.version_info[1]}-venv" in told.stderr
