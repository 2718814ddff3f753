"""Container and compose files, as far as they can be judged without an engine: what they name is there."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy/container"
CONTAINERFILES = sorted(HERE.glob("Containerfile*"))
SECRETS = "./secrets/"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((HERE / "compose.yaml").read_text())


def instructions(path):
    """Yield instruction and rest of every line; there are no continued ones."""
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            assert not line.endswith("\\")
            word, _, rest = line.partition(" ")
            yield word, rest


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.name)
def test_what_is_copied_is_there(path):
    assert next(instructions(path))[0] == "FROM"
    stages = {rest.rpartition(" AS ")[2] for word, rest in instructions(path) if word == "FROM"}
    for word, rest in instructions(path):
        if word == "COPY":
            *sources, _ = shlex.split(rest)
            if sources[0].startswith("--from="):
                assert sources[0].removeprefix("--from=") in stages
            else:
                assert all((ROOT / each).exists() for each in sources), rest


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.name)
def test_package_lists_do_not_stay_and_nothing_superfluous_comes(path):
    runs = [rest for word, rest in instructions(path) if word == "RUN" and "apt-get" in rest]
    assert runs
    for rest in runs:
        assert "--no-install-recommends" in rest
        assert rest.endswith("rm -rf /var/lib/apt/lists/*")


def test_the_gateway_does_not_run_as_root():
    words = dict(instructions(HERE / "Containerfile"))
    assert words["USER"] == "ntspool"
    # Workers outlive a crash of the control process only with somebody else as process 1.
    assert "tini" in words["ENTRYPOINT"]


def test_compose_names_only_what_is_there_or_what_the_operator_brings(compose):
    for service in compose["services"].values():
        if build := service.get("build"):
            context = (HERE / build["context"]).resolve()
            assert context == ROOT
            assert (context / build["dockerfile"]).exists()
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (HERE / source).exists() if source.startswith(".") else source in compose["volumes"]
        for secret in service.get("secrets", ()):
            assert secret["source"] in compose["secrets"]
    assert all(each["file"].startswith(SECRETS) for each in compose["secrets"].values())


def test_the_gateway_serves_the_backends_of_the_compose_file(compose):
    declared = yaml.safe_load((HERE / "backends.yaml").read_text())
    services = compose["services"]
    addresses = {name: services[name]["networks"]["pool"]["ipv4_address"] for name in ("ntp-1", "ntp-2", "ntp-3")}
    assert {each["name"]: each["address"] for each in declared["backends"]} == addresses
    [control] = declared["control"]["listen"]
    gateways = {services[name]["environment"]["GATEWAY"] for name in addresses}
    assert gateways == {f"gateway:{control.rpartition(':')[2]}"}
    targets = {each["target"] for each in services["gateway"]["secrets"]}
    assert {Path(path).name for each in declared["tls"] for path in each.values()} == targets


def test_a_backend_listens_to_nobodys_commands():
    conf = (HERE / "chrony.conf").read_text()
    assert re.search(r"^cmdport 0$", conf, re.MULTILINE)
    assert "/var/lib/chrony" in conf
