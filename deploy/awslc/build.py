#!/usr/bin/env python3
"""Build the wheel of cryptography whose TLS is AWS-LC's, from sources that are pinned and hashed.

    python3 deploy/awslc/build.py FOLDER

puts it into FOLDER. It takes a Rust toolchain, cmake, a C and C++ compiler, libclang, Python's headers and some ten
minutes. docs/awslc.md says what for, and how to install it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

VERSION = "50.0.2"
SDIST = "7b46165bb56eb4704e2eaaf86f3c940d19154535d9b0ca7d6d590b04060e00d5"
TOOLS = ("maturin==1.16.0", "cffi==2.1.1", "pycparser==3.12", "setuptools==80.9.0")
AWS_LC = "aws-lc-sys"
# cryptography declares this function by itself, without the prefix that this build of AWS-LC gives to all its names.
PLAIN = "EVP_PKEY_keygen_deterministic"


def run(*words: object, **environment: str) -> None:
    subprocess.run(list(map(str, words)), check=True, env=os.environ | environment)


def pins() -> dict[tuple[str, str], str]:
    """Return the SHA-256 of each crate by its name and version."""
    lines = (Path(__file__).parent / "crates.txt").read_text().splitlines()
    rows = (line.split() for line in lines if not line.startswith("#"))
    return {(name, version): checksum for name, version, checksum in rows}


def unpack(folder: Path) -> Path:
    """Fetch cryptography's sources by their hash; return where they are."""
    wanted = folder / "sources.txt"
    wanted.write_text(f"cryptography=={VERSION} --hash=sha256:{SDIST}\n")
    fetch = "download", "--no-deps", "--no-binary", "cryptography", "--require-hashes"
    run(sys.executable, "-m", "pip", *fetch, "-r", wanted, "-d", folder, PIP_CONSTRAINT=str(folder / "tools.txt"))
    shutil.unpack_archive(folder / f"cryptography-{VERSION}.tar.gz", folder)
    return folder / f"cryptography-{VERSION}"


def edit(file: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file.read_text(), flags=re.MULTILINE)
    if count != 1:
        raise SystemExit(f"{file} is not what this script knows how to edit")
    file.write_text(text)


def pin(source: Path) -> None:
    """Have Cargo.lock name exactly the crates that are pinned beyond its own, and check their hashes."""
    wanted, lock = pins(), source / "Cargo.lock"
    own = packages(lock)
    cargo = "cargo", "--quiet"
    manifest = f"--manifest-path={source}/Cargo.toml"
    run(*cargo, "update", "--workspace", manifest)
    for name, version in sorted(set(wanted) - set(packages(lock))):
        taken = next((each for each in packages(lock) if each[0] == name and each not in {*own, *wanted}), None)
        if taken is not None:
            run(*cargo, "update", manifest, "--package", f"{name}@{taken[1]}", "--precise", version)
    added = {each: checksum for each, checksum in packages(lock).items() if each not in own}
    if added != wanted:
        odd = sorted({each for each, _ in set(added.items()) ^ set(wanted.items())})
        raise SystemExit(f"crates.txt and Cargo.lock differ: {odd}")


def packages(lock: Path) -> dict[tuple[str, str], str]:
    listed = tomllib.loads(lock.read_text())["package"]
    return {(each["name"], each["version"]): each.get("checksum", "") for each in listed}


def main() -> None:
    out = Path(sys.argv[1]).absolute()
    (aws_lc,) = [version for name, version in pins() if name == AWS_LC]
    prefixed = f"aws_lc_{aws_lc.replace('.', '_')}_{PLAIN}"
    with tempfile.TemporaryDirectory(prefix="awslc-") as directory:
        folder = Path(directory)
        tools = folder / "tools.txt"
        tools.write_text("\n".join(TOOLS) + "\n")
        source = unpack(folder)
        edit(
            source / "Cargo.toml", r'^openssl-sys = "(.*)"$', r'openssl-sys = { version = "\1", features = ["aws-lc"] }'
        )
        bindings = source / "src/rust/cryptography-openssl/src/mlkem.rs"
        edit(bindings, rf"^(\s*)(fn {PLAIN}\()", rf'\1#[link_name = "{prefixed}"]\n\1\2')
        pin(source)
        wheel = "wheel", "--no-deps", "--no-cache-dir", "-w", out, source
        run(sys.executable, "-m", "pip", *wheel, PIP_CONSTRAINT=str(tools), CARGO_NET_RETRY="5")
    print(*out.glob(f"cryptography-{VERSION}-*.whl"))


if __name__ == "__main__":
    main()
