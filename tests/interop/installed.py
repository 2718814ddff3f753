"""ntspool as a user installs it: from a wheel, into an environment of its own."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

_TOP = Path(__file__).parents[2]


def installed(directory: Path) -> Path:
    """Build the wheel, install it into a fresh virtual environment in `directory`, and return its `ntspool`.

    Nothing is fetched: the libraries are those of the environment that the tests run in.
    """
    _pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={directory}", str(_TOP))
    (wheel,) = directory.glob("ntspool-*.whl")
    venv.create(directory / "venv", symlinks=True)
    python = directory / "venv" / "bin" / "python"
    _pip(f"--python={python}", "install", "--no-deps", "--no-index", str(wheel))
    # Of a .pth file within that directory nothing is heeded, so the ntspool that is tested is not there again.
    (packages,) = (directory / "venv" / "lib").glob("python3*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    program = directory / "venv" / "bin" / "ntspool"
    where = [str(python), "-c", "import ntspool; print(ntspool.__file__)"]
    found = subprocess.run(where, check=True, stdout=subprocess.PIPE, text=True, cwd=directory).stdout
    assert str(packages) in found
    return program


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
