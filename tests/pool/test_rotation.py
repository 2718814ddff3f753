"""Years of rotations: a cookie that was handed out can be spent, whatever lags, flaps or crashes."""

import random
from dataclasses import dataclass, field

import pytest

from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyring import EpochState, Keyring, create
from ntspool.pool.proofs import Proof, accepted, mint_epoch, obstacles, refused

LIFE = 100.0


@dataclass
class Daemon:
    """A backend as it is: the epochs in its key file and the one that it mints under, whatever the gateway believes."""

    name: str
    cookies: CookieFormat
    opens: set[int] = field(default_factory=set)
    mints: int = 0
    up: bool = True
    believed_up: bool = True
    last_up: float = 0.0

    def load(self, keyring: Keyring) -> None:
        alive = keyring.epochs if self.restarts else keyring.epochs[:4]
        self.opens = {epoch.number for epoch in alive}
        self.mints = keyring.current.number

    @property
    def restarts(self) -> bool:
        return self.cookies is CookieFormat.NTPSEC

    def stock_low(self, keyring: Keyring) -> bool:
        """Tell whether a daemon that must be restarted to read keys has to be: as the agent decides it."""
        return keyring.epochs[0].number >= self.mints


class World:
    """A gateway and its backends, and every cookie that came into the world."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.keyring = create(self.now, self.rng.randbytes)
        formats = [CookieFormat.CHRONY, CookieFormat.CHRONY, CookieFormat.NTPSEC, CookieFormat.NTSPOOL]
        self.daemons = [Daemon(f"ntp-{number}", each) for number, each in enumerate(formats)]
        for daemon in self.daemons:
            daemon.load(self.keyring)
        self.proofs = {daemon.name: Proof(self.now) for daemon in self.daemons}
        self.cookies: list[tuple[float, Daemon, int]] = []
        self.rotations = 0
        self.before = self.keyring
        self.roots = {epoch.root.reveal() for epoch in self.keyring.epochs}
        self.numbers = [epoch.number for epoch in self.keyring.epochs]

    def probe(self, daemon: Daemon) -> None:
        """What net/checker.py does: the current epoch, older ones if that is refused, then the next."""
        daemon.believed_up = daemon.up
        if not daemon.up:
            return
        daemon.last_up = self.now
        older = [epoch.number for epoch in self.keyring.mintable]
        for number in older:
            if self._ask(daemon, number):
                break
        if older[0] in daemon.opens:
            self._ask(daemon, self.keyring.next.number)

    def _ask(self, daemon: Daemon, number: int) -> bool:
        proof = self.proofs[daemon.name]
        if number in daemon.opens:
            self.proofs[daemon.name] = accepted(proof, number, daemon.mints, self.keyring, self.now)
        else:
            self.proofs[daemon.name] = refused(proof, number, self.keyring, self.now)
        return number in daemon.opens

    def hand_out(self, daemon: Daemon) -> None:
        epoch = mint_epoch(self.keyring, [self.proofs[daemon.name]])
        if daemon.up and daemon.believed_up and epoch is not None:
            assert epoch.number in self.proofs[daemon.name].accepts, "nothing is minted under what was not proved"
            self.cookies.append((self.now, daemon, epoch.number))
            self.cookies.append((self.now, daemon, daemon.mints))

    def rotate(self) -> None:
        if obstacles(self.keyring, self.proofs.items(), LIFE, self.now):
            return
        self.before = self.keyring
        self.keyring = self.keyring.rotate(self.now, self.rng.randbytes)
        fresh = self.keyring.epochs[-1]
        assert fresh.root.reveal() not in self.roots, "no two epochs share material"
        assert fresh.number > self.numbers[-1], "ids never collide"
        self.roots.add(fresh.root.reveal())
        self.numbers.append(fresh.number)
        self.rotations += 1

    def crash(self) -> None:
        """The gateway is killed: the keyring was kept, what was proved was not; then it probes everybody."""
        self.proofs = {daemon.name: Proof(self.now) for daemon in self.daemons}
        for daemon in self.daemons:
            self.probe(daemon)

    def restore_old_file(self, daemon: Daemon) -> None:
        """An operator restores a backend's backup; whoever holds a newer cookie pays, but nobody who comes later."""
        daemon.load(self.before)
        self.cookies = [cookie for cookie in self.cookies if cookie[1] is not daemon]
        self.probe(daemon)

    def step(self) -> None:
        self.now += self.rng.choice([0.1, 1.0, 5.0, 30.0])
        for daemon in self.daemons:
            if daemon.up and self.rng.random() < 0.3:
                must_restart = daemon.restarts and not daemon.stock_low(self.keyring)
                if not must_restart:
                    daemon.load(self.keyring)
            if self.rng.random() < 0.02:
                daemon.up = not daemon.up
            if not daemon.up or self.rng.random() < 0.9:
                self.probe(daemon)
            if daemon.up and self.rng.random() < 0.01:
                self.restore_old_file(daemon)
            self.hand_out(daemon)
        if self.rng.random() < 0.3:
            self.rotate()
        if self.rng.random() < 0.02:
            self.crash()

    def broken_promises(self) -> list[tuple[float, str, int]]:
        self.cookies = [cookie for cookie in self.cookies if self.now - cookie[0] < LIFE]
        return [
            (minted, daemon.name, number)
            for minted, daemon, number in self.cookies
            if daemon.up and self.now - daemon.last_up < LIFE and number not in daemon.opens
        ]


@pytest.mark.parametrize("seed", range(25))
def test_no_promise_is_broken_in_years_of_rotations(seed):
    world = World(seed)
    for _ in range(1500):
        world.step()
        assert world.broken_promises() == [], f"seed {seed} at {world.now}"
    assert world.rotations > 20, "the world must turn"
    for daemon in world.daemons:
        daemon.load(world.keyring)
    assert world.keyring.state(world.keyring.current.number) is EpochState.CURRENT


def test_a_backend_that_lags_for_two_rotations_costs_nothing_and_holds_up_the_third():
    world = World(1)
    lagging = world.daemons[0]

    def turn():
        world.now += LIFE + 1
        for daemon in world.daemons:
            if daemon is not lagging:
                daemon.load(world.keyring)
            world.probe(daemon)
        world.now += LIFE + 1
        for daemon in world.daemons:
            world.probe(daemon)
        world.rotate()
        return world.rotations

    assert [turn(), turn()] == [1, 2], "nothing was minted yet under what these two let go"
    assert [turn(), turn()] == [2, 2]
    assert obstacles(world.keyring, world.proofs.items(), LIFE, world.now) == {
        "ntp-0": "it has not loaded epoch 4 or a newer one"
    }
    assert mint_epoch(world.keyring, [world.proofs["ntp-0"]]).number == 4
    lagging.load(world.keyring)
    assert [turn(), turn()][-1] > 2
