"""Schedules of the rate, early stopping, and averages of weights."""

from service.advice.rules import Finding, Findings, rule
from service.advice.sources import GOODFELLOW, GOYAL, HE_RESIDUAL, PRECHELT
from service.advice.view import View
from service.blocks.averaging import Ema, Swa
from service.blocks.plateau import ReduceOnPlateau
from service.blocks.schedules import Horizon, MultiStepSchedule, OneCycleSchedule, StepSchedule
from service.spec import JobSpec

IMPATIENT = 2
EPOCH = 100
"""Steps of the epoch that schedules are tried with."""
VANISHED = 1e-4
STILL = 0.05


@rule(PRECHELT)
def training_monitor(view: View) -> Findings:
    """Early stopping watches rows that do not train: the loss of those that do nearly always falls."""
    stopping = view.spec.regularization.early_stopping
    if stopping is not None and not stopping.monitor.startswith("val_"):
        reason = f"{stopping.monitor} of the training rows gets better long after learning has become memorising."
        yield Finding("regularization.early_stopping.monitor", reason, 'Use "val_loss", with validation rows.')


@rule(PRECHELT)
def impatient_stopping(view: View) -> Findings:
    """Validation errors go up and down before they rise for good; slower criteria find better weights."""
    stopping = view.spec.regularization.early_stopping
    if stopping is not None and stopping.patience <= IMPATIENT:
        reason = f"{stopping.patience} worse epochs in a row are often chance."
        yield Finding("regularization.early_stopping.patience", reason, "Use 5 to 20.")


@rule(PRECHELT)
def late_stopping(view: View) -> Findings:
    """Early stopping stops nothing when it waits as long as training takes."""
    stopping = view.spec.regularization.early_stopping
    if stopping is not None and stopping.patience >= view.spec.training.epochs:
        reason = f"Training takes {view.spec.training.epochs} epochs, and it waits for {stopping.patience}."
        mend = "Use more epochs, or less patience."
        yield Finding("regularization.early_stopping.patience", reason, mend)


@rule('Smith and Topin 2018, "Super-Convergence: Very Fast Training Using Large Learning Rates"')
def one_cycle_stopped(view: View) -> Findings:
    """One cycle gains most while the rate falls at its end; stopped before, it was for nothing."""
    if isinstance(view.spec.schedule, OneCycleSchedule) and view.spec.regularization.early_stopping is not None:
        reason = "While the rate is high, validation gets no better for long, and stopping then loses the end."
        yield Finding("regularization.early_stopping", reason, "Leave it out: the best weights are kept anyway.")


@rule(f"{HE_RESIDUAL}, section 3.4")
def plateau_patience(view: View) -> Findings:
    """The rate drops when a plateau is reached, and training goes on: it must not have stopped before."""
    schedule, stopping = view.spec.schedule, view.spec.regularization.early_stopping
    if isinstance(schedule, ReduceOnPlateau) and stopping is not None and schedule.patience >= stopping.patience:
        reason = (
            f"Training stops after {stopping.patience} epochs on a plateau, the rate drops after {schedule.patience}."
        )
        yield Finding("schedule.patience", reason, "Use half the patience of early stopping, or less.")


@rule(f"{HE_RESIDUAL}, section 3.4")
def idle_schedule(view: View) -> Findings:
    """A schedule that drops after the end of training is none."""
    epochs, schedule = view.spec.training.epochs, view.spec.schedule
    first, name = float("-inf"), ""
    if isinstance(schedule, StepSchedule):
        first, name = schedule.every_epochs, "every_epochs"
    elif isinstance(schedule, MultiStepSchedule):
        first, name = min(schedule.at_epochs), "at_epochs"
    elif isinstance(schedule, ReduceOnPlateau):
        first, name = schedule.patience, "patience"
    if first + schedule.warmup_epochs >= epochs:
        reason = f"The first drop would come {first:g} epochs after the warm-up, and training takes {epochs}."
        yield Finding(f"schedule.{name}", reason, f"Use about {max(1, epochs // 3)}.")


@rule(f"{GOODFELLOW}, section 8.3.1")
def vanishing_rate(view: View) -> Findings:
    """Rates must add up to enough to get anywhere: one that is gone half-way wastes the other half."""
    factor = _factor(view.spec, 0.5)
    if factor < VANISHED:
        reason = f"Half-way through training the rate is {factor:.0e} of what it was: nothing is learned any more."
        yield Finding("schedule", reason, 'Let it fall less, or use "cosine", which ends with the training.')


@rule(f"{GOYAL}, section 2.2")
def long_warmup(view: View) -> Findings:
    """A warm-up is a few epochs long, a small part of training."""
    warmup, epochs = view.spec.schedule.warmup_epochs, view.spec.training.epochs
    if warmup > 0 and warmup >= epochs / 2:
        reason = f"{warmup:g} of {epochs} epochs go by before the rate is what it should be."
        yield Finding("schedule.warmup_epochs", reason, f"Use {max(epochs / 20, 0.1):.2g}.")


@rule('Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", section 3')
def swa_schedule(view: View) -> Findings:
    """Averaging the weights of the last epochs needs a rate at which they still move."""
    if isinstance(view.spec.training.averaging, Swa) and _factor(view.spec, 0.95) < STILL:
        reason = "At the end of this schedule weights stand still, and the mean of equal weights is none."
        yield Finding("schedule", reason, 'Use "constant", or a min_factor of 0.1.')


@rule('Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging"')
def long_average(view: View) -> Findings:
    """An average of weights should forget the start, where they were still bad."""
    averaging, steps = view.spec.training.averaging, view.known.steps
    if isinstance(averaging, Ema) and steps is not None and 2 / (1.0 - averaging.decay) > steps:
        reason = f"It remembers {1 / (1.0 - averaging.decay):,.0f} steps of {steps:,}: the untrained weights are in it."
        mend = f"Use a decay of {max(0.5, 1.0 - 10 / max(steps, 1)):.3g}."
        yield Finding("training.averaging.decay", reason, mend)


def _factor(spec: JobSpec, progress: float) -> float:
    """Return the share of the rate that is left when so much of training is over."""
    total = spec.training.epochs * EPOCH
    return spec.schedule.factor(int(progress * total), Horizon(EPOCH, total))
