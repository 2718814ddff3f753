"""Verdicts on each AEAD algorithm, from the key exchange to authenticated time."""

from collections.abc import Iterator
from dataclasses import dataclass

from ntspool.pool.causes import Failure
from ntspool.pool.exam.conversation import Conversation, Kind, Outcome
from ntspool.pool.exam.model import AeadFacts, Finding, Verdict
from ntspool.pool.exam.volleys import Reply
from ntspool.wire.aead import Aead
from ntspool.wire.records import RecordType

_CHOICE_RFC = "RFC 8915 4.1.5"
_KEYS_RFC = "RFC 8915 5.1"


@dataclass(frozen=True, slots=True)
class Trial:
    """A session that offers one AEAD only, with chrony's record 1024 or without, and one NTP request after it.

    `results` are of requests under each of `seen.keys`, up to the first that was answered.
    """

    aead: Aead
    announced: bool
    seen: Conversation
    results: tuple[Reply | Failure, ...] = ()

    @property
    def chosen(self) -> bool:
        """Whether the server gave cookies for this very algorithm."""
        numbers = self.seen.answer.numbers(RecordType.AEAD_ALGORITHM)
        return self.seen.outcome.kind is Kind.COOKIES and numbers == (self.aead,)

    @property
    def usable(self) -> bool | None:
        """Whether NTP works, whatever the keys; None if it was not tried."""
        return any(isinstance(each, Reply) for each in self.results) if self.results else None

    @property
    def echoed(self) -> bool:
        """Whether record 1024 came back."""
        return bool(self.seen.answer.all(RecordType.COMPLIANT_128GCM_EXPORT))

    @property
    def id(self) -> str:
        """The finding's."""
        return f"ke.aead-{self.aead.value}{'-unannounced' if self.unannounced else ''}"

    @property
    def label(self) -> str:
        """The algorithm's name, and whether record 1024 was missing."""
        return f"{self.aead.label}{' without record 1024' if self.unannounced else ''}"

    @property
    def unannounced(self) -> bool:
        """Whether it is an algorithm that needs record 1024, and had none."""
        return self.aead is Aead.AES_128_GCM_SIV and not self.announced


def aead_facts(trial: Trial) -> AeadFacts:
    """Return a row of the table of AEAD algorithms."""
    seen, cookies = trial.seen, trial.seen.answer.cookies
    return AeadFacts(
        trial.aead.value,
        trial.label,
        trial.chosen,
        str(seen.outcome),
        len(cookies),
        len(cookies[0]) if cookies else None,
        len(seen.data) or None,
        seen.answered,
        trial.usable,
    )


def judge_trial(trial: Trial) -> Iterator[Finding]:
    """Yield the verdicts on one AEAD algorithm."""
    outcome, address = trial.seen.outcome, trial.seen.address
    text = f"offered {trial.label} only: the server {outcome}"
    if outcome.kind is Kind.UNREACHED:
        yield Finding(trial.id, Verdict.SKIP, f"not tried: {trial.seen.failure}", _CHOICE_RFC, address)
    elif outcome.kind is not Kind.COOKIES:
        yield _declined(trial, outcome, text)
    elif not trial.chosen:
        yield _another(trial, text)
    elif not trial.results:
        yield Finding(trial.id, Verdict.PASS, text, _CHOICE_RFC, address)
    elif any(isinstance(each, Reply) for each in trial.results):
        yield _usable(trial, text)
    else:
        yield _useless(trial, text)


def _declined(trial: Trial, outcome: Outcome, text: str) -> Finding:
    address = trial.seen.address
    if trial.aead is Aead.AES_SIV_CMAC_256:
        return Finding(trial.id, Verdict.FAIL, f"{text}; every server must have it", _CHOICE_RFC, address)
    if trial.unannounced and outcome.kind is Kind.NO_AEAD:
        text = f"{text}, as is safest: chrony's clients before 4.6.1 export other keys"
        return Finding(trial.id, Verdict.PASS, text, _KEYS_RFC, address)
    if outcome.kind is Kind.HANGS:
        return Finding(trial.id, Verdict.FAIL, text, _CHOICE_RFC, address)
    deviation = outcome.kind is not Kind.NO_AEAD
    expected = "; expected: an empty AEAD record" if deviation else ""
    return Finding(trial.id, Verdict.NOTE, text + expected, _CHOICE_RFC, address, deviation)


def _another(trial: Trial, text: str) -> Finding:
    text = f"{text} for another algorithm; expected: an empty AEAD record"
    if trial.aead is Aead.AES_SIV_CMAC_256:
        return Finding(trial.id, Verdict.FAIL, text, _CHOICE_RFC, trial.seen.address)
    # Who can do no other gets no time in either case.
    return Finding(trial.id, Verdict.NOTE, text, _CHOICE_RFC, trial.seen.address, deviation=True)


def _useless(trial: Trial, text: str) -> Finding:
    first = trial.results[0]
    # Silence may be the network's; that the keys are no good is the server's own word.
    evident = isinstance(first, Failure) and first.evident
    text = f"{text}, but NTP does not work with them: {first}"
    return Finding(trial.id, Verdict.FAIL if evident else Verdict.NOTE, text, _KEYS_RFC, trial.seen.address)


def _usable(trial: Trial, text: str) -> Finding:
    verdict, deviation = Verdict.PASS, False
    if len(trial.results) > 1:
        text += ", but under keys that are exported as for AES-SIV-CMAC-256, as chrony's clients before 4.6.1 do"
        verdict, deviation = Verdict.NOTE, True
        if trial.echoed:
            text += ", though it echoes record 1024"
            verdict, deviation = Verdict.FAIL, False
    elif trial.announced and not trial.echoed:
        text += ", but record 1024 is not echoed: chrony's clients expect keys as for AES-SIV-CMAC-256 then"
        verdict = Verdict.NOTE
    elif trial.unannounced:
        text += ", and NTP works with them, but not for chrony's clients 4.4 to 4.6.0, who export other keys"
        verdict = Verdict.NOTE
    else:
        text += ", and NTP works with them"
    return Finding(trial.id, verdict, text, _KEYS_RFC, trial.seen.address, deviation)
