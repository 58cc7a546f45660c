"""`python -m worker.crew`: a helper, as `worker/crew/helpers.py` starts it."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import orjson
import torch

from service.blocks.schedules import Horizon
from service.errors import TrainyardError
from service.failures import OutOfMemory
from service.network import build_network, materialize
from service.spec import JobSpec
from worker.crew.group import Parted
from worker.crew.helpers import PARTED, READY
from worker.crew.member import Member
from worker.crew.orders import Work, read
from worker.parent import die_with_parent
from worker.training.memory import ran_out
from worker.training.precision import Precision
from worker.training.step import Step


def main(rank: str, size: str, device: str, folder: str, owner: str) -> None:
    """Do what the owner, process number `owner`, says, until it says no more."""
    die_with_parent(int(owner))
    # A terminal and a service manager tell all processes to end; this one ends when its owner has done its last step.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        _serve(Member(int(rank), int(size), torch.device(device)), Path(folder), reports.write)
    except Parted:
        sys.exit(PARTED)
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        kind = OutOfMemory if ran_out(error) else TrainyardError
        reports.write(orjson.dumps({"code": kind.code, "message": message}) + b"\n")
        sys.exit(1)


def _serve(member: Member, folder: Path, report: Callable[[bytes], object]) -> None:
    """Follow orders; the first one brings the processes together."""
    step: Step | None = None
    steps_per_epoch, epoch = 1, -1
    report(READY)
    for line in sys.stdin.buffer:
        order = read(line)
        if isinstance(order, Work):
            if step is None:
                member.meet(folder)
            step, steps_per_epoch, epoch = _step(order, member), order.steps_per_epoch, -1
            continue
        assert step is not None
        if order.step // steps_per_epoch != epoch:
            epoch = order.step // steps_per_epoch
            step.enter(epoch)
        step.follow(order)


def _step(work: Work, member: Member) -> Step:
    torch.set_num_threads(work.threads)
    spec = JobSpec.model_validate(work.spec)
    shape, most = tuple(work.input_shape), sys.maxsize
    network = build_network(spec.network, spec.regularization, shape, work.outputs, most, work.vocabulary)
    network = materialize(network, spec.training.seed).to(member.device)
    horizon = Horizon(work.steps_per_epoch, work.total_steps)
    precision = Precision.of(spec.training.model_copy(update={"precision": work.number}), member.device)
    step = Step(network, spec, member.device, horizon, work.rows_of_batch, precision=precision, crew=member)
    step.begin()
    return step


if __name__ == "__main__":
    main(*sys.argv[1:])
