"""What a child died of, in words."""

import os
import signal

from sqlalchemy.orm import Session

from service.memory import size_in_words
from service.store import events

CAUSES = {
    signal.SIGSEGV: "crashed: it touched memory that is not its own",
    signal.SIGBUS: "crashed: memory behind it was gone",
    signal.SIGILL: "crashed: its code is not for this processor",
    signal.SIGFPE: "crashed in whole-number arithmetic",
    signal.SIGABRT: "gave itself up",
    signal.SIGKILL: "was killed from outside, as the system does when memory runs out",
    signal.SIGTERM: "was told to end",
}


def ended(pid: int) -> int | None:
    """Return the exit status of a child of this process that has ended and that nobody has waited for yet, else None.

    Below 0: the signal that it died of. The child stays for whoever waits for it.
    """
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def death(pid: int, exitcode: int | None, did: str = "trained") -> str:
    """Return how the process of this number ended that trained a job, or did something else with it."""
    who = f"the process that {did} it (pid {pid})"
    if exitcode is None:
        return f"{who} died."
    if exitcode >= 0:
        return f"{who} ended with the exit status {exitcode}."
    try:
        number = signal.Signals(-exitcode)
    except ValueError:
        return f"{who} died of signal {-exitcode}."
    return f"{who} {CAUSES.get(number, 'died')} ({number.name})."


def cause(session: Session, job_id: str, pid: int, exitcode: int | None) -> str:
    """Return how a child ended, and where memory may be why, how much its job takes by estimate."""
    told = death(pid, exitcode)
    memory = (events.last(session, job_id, "training") or {}).get("memory_bytes")
    if exitcode != -signal.SIGKILL or memory is None:
        return told
    mend = "a smaller training.batch_size or network takes less"
    return f"{told} Training takes about {size_in_words(memory)} by estimate; {mend}."
