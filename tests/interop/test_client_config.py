"""What `ntspool client-config` prints, taken by the daemons as it is: names, slots, port and authority of a pool."""

import contextlib
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from ntspool.app.throwaway import Authority
from ntspool.pool.clientlines import Client, Offer, lines
from tests.interop.clients import NtpsecClient
from tests.interop.daemons import NOCLOCK, chrony_paths, chronyc, endpoint
from tests.interop.lab import find, namespace, running, wait_until, working_directory
from tests.interop.pool import HOSTS, Member, laid_out

NAME = "ntp-pool.example.com"
SLOTS = [f"{slot}.{NAME}" for slot in range(4)]


@pytest.fixture(scope="module")
def pool():
    """Run a pool of four chronyd in a network of its own, under a name whose slots are certified."""
    members = [Member(f"ntp-{number}", (f"127.0.0.{40 + number}",)) for number in range(4)]
    with namespace() as network, laid_out(members, network) as pool:
        authority = Authority.make(datetime.now(UTC))
        authority.write(pool.ca)
        authority.issue([NAME, f"*.{NAME}", "localhost"], HOSTS, pool.directory, datetime.now(UTC))
        # chronyd gives an address to one source only until a key exchange has told it another, and then takes half a
        # minute, one, two to try the next name: so every slot has an address of its own, as with several gateways.
        told = {NAME: "127.0.0.1", **{slot: f"127.0.0.{number}" for number, slot in enumerate(SLOTS, 1)}}
        listen = [endpoint(address, pool.port) for address in told.values()]
        text = pool.config.read_text().replace("names: [localhost]", f"names: [{NAME}]")
        pool.config.write_text(re.sub("listen: .*", f"listen: {listen[1:]}", text))
        (pool.directory / "hosts").write_text("".join(f"{address} {name}\n" for name, address in told.items()))
        with pool.daemon("ntp-0"), pool.daemon("ntp-1"), pool.daemon("ntp-2"), pool.daemon("ntp-3"), pool.gateway():
            pool.wait_until_up(*pool.members)
            yield pool


def printed(pool, client, *more):
    """Return what the command prints for this pool."""
    words = [sys.executable, "-m", "ntspool", "client-config", client, f"--config={pool.config}", f"--ca={pool.ca}"]
    return subprocess.run([*words, *more], check=True, stdout=subprocess.PIPE, text=True).stdout


def beside(pool, *command):
    """Return a command that runs in the pool's network, where the pool's names are in /etc/hosts."""
    script = f'mount --bind {shlex.quote(str(pool.directory / "hosts"))} /etc/hosts && exec "$@"'
    inside = [*pool.network.inside, find("unshare"), "--mount", "--propagation=private", "sh", "-c", script, "sh"]
    return [*inside, *command]


@contextmanager
def chrony(pool, program, text):
    with working_directory() as directory:
        (directory / "conf").write_text(f"{text}port 0\nnosystemcert\n{chrony_paths(directory)}")
        pool.network.give(directory)
        command = beside(pool, find(program), "-u", pool.network.user, "-U", "-x", "-d", "-f", f"{directory}/conf")
        with running(command, directory / "log"):
            wait_until("chronyd's command socket", (directory / "run" / "chronyd.sock").exists)

            # The newer chronyc gives up root's groups, which the root of a user namespace may not.
            stay = ("-u", "root") if program == "chronyd-new" else ()

            def ask(*words):
                # A source whose address changes while chronyc goes through the list is not found.
                with contextlib.suppress(subprocess.CalledProcessError):
                    told = chronyc(pool.network, program, directory, *stay, *words)
                    return [line.split(",") for line in told.splitlines()]
                return []

            yield ask


@pytest.mark.parametrize("program", ["chronyd", "chronyd-new"])
def test_chrony_has_four_servers(pool, program):
    text = printed(pool, "chrony")
    assert [line.split()[1] for line in text.splitlines() if line.startswith("server ")] == SLOTS
    with chrony(pool, program, text) as ask:
        states = wait_until(
            "four associations with cookies", lambda: (s := ask("-c", "-N", "authdata")) and all_good(s) and s
        )
        assert [state[0] for state in states] == SLOTS
        told = wait_until("an answer of each", lambda: (t := ask("-c", "ntpdata")) and len(t) == 4 and t)
        assert {pool.name_at(each[0], int(each[2])) for each in told} == set(pool.members)
        wait_until("authentic answers", lambda: [each[27] for each in ask("-c", "ntpdata")] == ["Yes"] * 4)


def all_good(states):
    return len(states) == 4 and all(state[1] == "NTS" and int(state[8]) >= 6 and state[7] == "0" for state in states)


@pytest.mark.parametrize("servers", ["1", "4"])
def test_ntpsec_takes_what_is_printed(pool, servers):
    text = printed(pool, "ntpsec", f"--servers={servers}")
    with working_directory() as directory:
        (directory / "conf").write_text(
            "disable ntp\ninterface ignore all\ninterface listen 127.0.0.1\nrestrict default\nrestrict 127.0.0.1\n"
            f"driftfile {directory}/drift\nlogfile {directory}/ntp.log\n{text}"
        )
        client = NtpsecClient(directory, pool.network)
        with running(beside(pool, find("ntpd-ntpsec"), "-n", "-c", f"{directory}/conf"), directory / "log"):
            wait_until("a key exchange", lambda: "NTSc: Got 8 cookies" in client.log())
            assert "NTSc: certificate is valid." in client.log()
            counters = wait_until("answers", lambda: (c := client.counters())["NTS client recvs good"] >= 2 and c)
            assert counters["NTS client recvs w error"] == 0
            assert f"{NAME}:{pool.port}" in client.log()


def test_ntpd_rs_has_four_servers(pool):
    text = printed(pool, "ntpd-rs")
    assert text.count("[[source]]") == 4
    with working_directory() as directory:
        (directory / "conf").write_text(
            f'[observability]\nlog-level = "info"\nobservation-path = "{directory}/observe.sock"\n'
            f"[synchronization]\nminimum-agreeing-sources = 1\n{text}"
            "[source-defaults]\ninitial-poll-interval = 0\npoll-interval-limits = { min = 0, max = 0 }\n"
        )
        pool.network.give(directory)
        command = beside(pool, sys.executable, str(NOCLOCK), find("ntp-daemon"), "-c", f"{directory}/conf")

        def sources():
            words = [find("ntp-ctl"), "status", "-f", "prometheus", "-c", f"{directory}/conf"]
            told = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
            return re.findall(r'nts_cookies_available{.*address="(.*?):(\d+)".*} (\d+)', told.stdout)

        with running(command, directory / "log"):
            found = wait_until("four sources with cookies", lambda: (s := sources()) and len(s) == 4 and s)
            assert {pool.name_at(address, int(port)) for address, port, _ in found} == set(pool.members)
            wait_until("answers", lambda: (directory / "log").read_text().count("Offset:") >= 4)


def test_of_systemd_timesyncd_nothing_but_advice_is_printed(pool):
    text = printed(pool, "timesyncd")
    assert all(line.startswith("# ") for line in text.splitlines())
    assert "has no NTS" in text


def test_the_command_takes_name_port_and_slots_from_the_configuration(pool):
    assert printed(pool, "chrony") == lines(Client.CHRONY, Offer(NAME, pool.port, 4, str(pool.ca)))
