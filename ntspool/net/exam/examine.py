"""`examine`: an NTS service seen as an independent client sees it."""

import asyncio
import time
from dataclasses import replace

from cryptography.x509 import load_der_x509_certificate

from ntspool.net.clienttls import covers_name
from ntspool.net.clocks import keep_stamping
from ntspool.net.exam import sessions
from ntspool.net.exam.course import Course
from ntspool.net.exam.finding import Found, find_host, find_service
from ntspool.net.exam.visiting import targets, visit
from ntspool.pool.exam import aeads, certificates, greetings, handouts, odd, response, timing
from ntspool.pool.exam.conversation import Conversation, Kind, Reached
from ntspool.pool.exam.handouts import Asked
from ntspool.pool.exam.model import Examination, Finding, Progress, Section, Verdict
from ntspool.pool.exam.names import judge_names, judge_slot_names, judge_targets
from ntspool.pool.exam.plan import Plan
from ntspool.pool.exam.volleys import Target, Visit, server_facts
from ntspool.pool.unreadable import UNREADABLE


async def examine(plan: Plan, progress: Progress) -> Examination:
    """Examine a service as planned. Never raises for what the service or the network does: that is a finding.

    Raises CertificateError when `plan.ca` cannot be used, and OSError when this system has no socket to give.
    """
    began, clock = time.time(), time.monotonic()
    course = Course(plan, progress)
    examiner = _Examiner(course, Examination(plan, began, 0.0, 0, 0, ()))
    stamps = keep_stamping()
    try:
        async with asyncio.timeout(plan.limit):
            await examiner.run()
    except TimeoutError:
        examiner.skip_the_rest(f"{plan.limit:g} s are over")
    else:
        course.expect(0)
        course.tell("done")
    finally:
        if stamps is not None:
            stamps.close()
    elapsed = time.monotonic() - clock
    return replace(examiner.so_far, elapsed=elapsed, connections=course.connections, requests=course.requests)


class _Examiner:
    """Goes through the sections; `so_far` is what it has found out."""

    def __init__(self, course: Course, empty: Examination) -> None:
        self._course = course
        self._plan = course.plan
        self._unfinished = list(Section)
        self.so_far = empty

    async def run(self) -> None:
        """Examine everything."""
        found = await self._find()
        seen = await self._greet(found)
        fit = [each for each in seen if self._is_fit(each)]
        if not fit:
            self.skip_the_rest("no address serves a client that knows whom to trust")
            return
        await self._try_aeads(fit[0])
        await self._ask_for_servers(fit, found)
        if self._plan.odd:
            await self._ask_oddly(fit[0])
        self._done(Section.KE)

    def skip_the_rest(self, why: str) -> None:
        """Tell of every section that was not finished."""
        self._add(
            *(Finding(f"{each}.skipped", Verdict.SKIP, f"not tried to the end: {why}") for each in self._unfinished)
        )
        self._unfinished.clear()

    def _add(self, *findings: Finding) -> None:
        self.so_far = replace(self.so_far, findings=(*self.so_far.findings, *findings))

    def _done(self, section: Section) -> None:
        self._unfinished.remove(section)

    async def _find(self) -> Found:
        self._course.tell(f"looking up {self._plan.host}")
        found = await find_service(self._plan)
        if found.lookups:
            self._add(*judge_names(found.lookups, found.addresses, by_system=found.by_system))
        self.so_far = replace(self.so_far, lookups=found.lookups)
        self._done(Section.DNS)
        self._course.expect(self._plan.sessions_at(len(found.addresses)))
        return found

    async def _greet(self, found: Found) -> list[Conversation]:
        """Be an ordinary client at every address, then one of TLS 1.2."""
        seen = []
        for address in found.addresses:
            one = await sessions.ordinary(self._course, address, self._plan.host)
            seen.append(one)
            self._add(*greetings.judge_connection(one))
            self.so_far = replace(self.so_far, addresses=(*self.so_far.addresses, greetings.address_facts(one)))
            if one.reached is Reached.TLS:
                self._look_at_tls(one)
                self._add(*response.judge_answer(one))
                self._add(greetings.judge_tls12(await sessions.tls12(self._course, address, self._plan.host)))
        self._done(Section.TCP)
        alike = greetings.judge_alike([(each.address, each.names) for each in self.so_far.certificates])
        self._add(*([alike] if alike else []))
        self._done(Section.TLS)
        return seen

    def _look_at_tls(self, seen: Conversation) -> None:
        self.so_far = replace(self.so_far, tls=(*self.so_far.tls, greetings.tls_facts(seen)))
        facts = certificates.certificate_facts(seen, time.time())
        if facts is None:
            self._add(
                Finding("tls.chain", Verdict.FAIL, "the server sends no certificate that can be read", "", seen.address)
            )
            return
        self.so_far = replace(self.so_far, certificates=(*self.so_far.certificates, facts))
        expected = certificates.Expectation(self._plan.host, _covers(seen, self._plan.host), self._plan.insecure)
        self._add(*certificates.judge_certificate(facts, expected))

    def _is_fit(self, seen: Conversation) -> bool:
        """Tell whether an ordinary client would have gone on to NTP."""
        trusted = self._plan.insecure or (not seen.trouble and _covers(seen, self._plan.host))
        return seen.outcome.kind is Kind.COOKIES and bool(seen.keys) and trusted

    async def _try_aeads(self, first: Conversation) -> None:
        for trial in await sessions.trials(self._course, first):
            self._add(*aeads.judge_trial(trial))
            self.so_far = replace(self.so_far, aeads=(*self.so_far.aeads, aeads.aead_facts(trial)))

    async def _ask_for_servers(self, fit: list[Conversation], found: Found) -> None:
        asked = [Asked(None, each) for each in fit]
        for number in range(self._plan.sessions):
            address = fit[number % len(fit)].address
            asked.append(Asked(None, await sessions.ordinary(self._course, address, self._plan.host)))
        asked += await self._ask_for_slots(fit[0], found)
        self._add(*handouts.judge_handouts(asked))
        self.so_far = replace(self.so_far, handouts=handouts.count(asked))
        await self._visit_all(asked)

    async def _ask_for_slots(self, first: Conversation, found: Found) -> list[Asked]:
        """Ask for those slots that the certificate covers, where the DNS sends their clients."""
        names = {slot: f"{slot}.{self._plan.host}" for slot in range(self._plan.slots)}
        asked, lost = [], []
        for slot, name in names.items():
            if not _covers(first, name):
                continue
            where = Found((first.address,))
            if found.lookups and not found.by_system:
                where = await find_host(self._plan, name)
            if where.addresses:
                asked.append(Asked(slot, await sessions.ordinary(self._course, where.addresses[0], name)))
            else:
                lost.append(name)
        # A wildcard alone does not say that there should be slots.
        named = frozenset(name for each in self.so_far.certificates for name in each.names)
        self._add(*judge_slot_names([each for each in lost if asked or each in named]))
        return asked

    async def _visit_all(self, asked: list[Asked]) -> None:
        chosen: dict[Target, Conversation] = {}
        lost: list[str] = []
        other_family: list[str] = []
        for seen in (each.seen for each in asked):
            found = await targets(self._course, seen)
            if not found and seen.outcome.kind is Kind.COOKIES:
                name = response.named_server(seen.answer) or seen.address
                anywhere = await find_host(replace(self._plan, families=(4, 6)), name)
                (other_family if anywhere.addresses else lost).append(name)
            for target in found if seen.keys else ():
                chosen.setdefault(target, seen)
        self._add(*judge_targets(lost, other_family))
        self._done(Section.SERVERS)
        self._course.expect(self._plan.sessions_at(len(self.so_far.addresses)) + len(chosen) * self._plan.requests)
        visits = await asyncio.gather(
            *(visit(self._course, target, seen.keys[0], seen.answer.cookies) for target, seen in chosen.items())
        )
        self._judge_visits(visits)
        self._done(Section.NTP)

    def _judge_visits(self, visits: list[Visit]) -> None:
        for each in visits:
            self._add(*timing.judge_visit(each))
        agreement = timing.agree(visits)
        if agreement is not None:
            self._add(*timing.judge_agreement(agreement))
        usable = any(each.best is not None for each in visits) if visits else None
        mandatory, *others = self.so_far.aeads
        self.so_far = replace(
            self.so_far,
            aeads=(replace(mandatory, usable=usable), *others),
            servers=tuple(map(server_facts, visits)),
            agreement=agreement,
        )

    async def _ask_oddly(self, first: Conversation) -> None:
        host, address = self._plan.host, first.address
        self._add(greetings.judge_no_alpn(await sessions.without_alpn(self._course, address, host)))
        self._add(greetings.judge_wrong_alpn(await sessions.with_another_alpn(self._course, address, host)))
        for case in (*odd.cases(host), odd.SILENCE):
            seen = await sessions.say(self._course, address, host, case.pieces, case.what)
            self._add(odd.judge_silence(seen) if case is odd.SILENCE else odd.judge(case, seen))


def _covers(seen: Conversation, name: str) -> bool:
    try:
        return covers_name(load_der_x509_certificate(seen.chain[0]), name)
    except (*UNREADABLE, IndexError):
        return False
