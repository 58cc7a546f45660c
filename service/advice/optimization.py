"""Optimizers, their rates, and batches."""

from service.advice.rules import Finding, Findings, rule
from service.advice.sources import BENGIO, GOODFELLOW, GOYAL, KINGMA, LECUN
from service.advice.view import View
from service.blocks.adam import AdamFamily
from service.blocks.dropout import AlphaDropout, Dropout, SpatialDropout
from service.blocks.lbfgs import Lbfgs
from service.blocks.lion import Lion
from service.blocks.optimizers import Adadelta, Adagrad, Rmsprop, Sgd
from service.blocks.schedules import ConstantSchedule

FAST = 0.05
"""Learning rate above which an adaptive optimizer, whose steps are about that long, rarely settles."""
FAST_SIGN = 0.003
SLOW = 1e-6
ROUNDING = 1e-6
LONG = 100
"""Epochs of a long run."""
DEEP = 3
MANY_ROWS = 10_000
LARGE_BATCH = 1_024
LARGE_SHARE = 0.1


@rule(f"{KINGMA}, section 2.1")
def fast_adaptive(view: View) -> Findings:
    """The steps of an adaptive optimizer are about as long as the learning rate, whatever the gradient."""
    optimizer = view.spec.optimizer
    if isinstance(optimizer, AdamFamily | Rmsprop) and optimizer.learning_rate > FAST:
        reason = f"Every step of {optimizer.type} moves a weight by about {optimizer.learning_rate:g}."
        yield Finding("optimizer.learning_rate", reason, "Start from 0.001.")


@rule('Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", section 5')
def fast_lion(view: View) -> Findings:
    """Lion moves every weight by the whole rate at every step, and needs one 3 to 10 times smaller than Adam's."""
    optimizer = view.spec.optimizer
    if isinstance(optimizer, Lion) and optimizer.learning_rate > FAST_SIGN:
        reason = f"Every step moves every weight by {optimizer.learning_rate:g}, however small its gradient."
        yield Finding("optimizer.learning_rate", reason, "Start from 0.0001.")


@rule(f"{BENGIO}, section 3.1.1")
def fast_sgd(view: View) -> Findings:
    """With standardised inputs the rate of gradient descent is less than 1."""
    optimizer = view.spec.optimizer
    if isinstance(optimizer, Sgd) and optimizer.learning_rate > 1:
        reason = f"With a rate of {optimizer.learning_rate:g} steps overshoot, and the loss grows."
        yield Finding("optimizer.learning_rate", reason, "Start from 0.01 to 0.1.")


@rule(f"{BENGIO}, section 3.1.1")
def slow_rate(view: View) -> Findings:
    """A rate below a millionth learns next to nothing."""
    optimizer = view.spec.optimizer
    if not isinstance(optimizer, Adadelta | Lbfgs) and optimizer.learning_rate < SLOW:
        reason = f"At {optimizer.learning_rate:g} weights hardly move away from where they start."
        yield Finding("optimizer.learning_rate", reason, "Start from 0.001, or 0.01 for sgd.")


@rule(f"{GOODFELLOW}, section 8.3.2")
def momentum_step(view: View) -> Findings:
    """Momentum m makes steps 1 / (1 - m) times as long as the rate says."""
    optimizer = view.spec.optimizer
    if isinstance(optimizer, Sgd) and optimizer.momentum and optimizer.learning_rate <= 1:
        step = optimizer.learning_rate / (1.0 - optimizer.momentum)
        if step > 1.0 + ROUNDING:
            reason = f"Steps in one direction add up to a rate of {step:.3g}."
            yield Finding("optimizer.learning_rate", reason, f"Use {(1.0 - optimizer.momentum) * 0.1:.1g} or less.")


@rule(f"{GOODFELLOW}, section 8.3.2")
def high_momentum(view: View) -> Findings:
    """Momentum is 0.5, 0.9 or 0.99; beyond, a step is made of gradients too old to be true."""
    optimizer = view.spec.optimizer
    if isinstance(optimizer, Sgd | Rmsprop) and optimizer.momentum > 0.99:
        reason = f"A step is a mean over {1.0 / (1.0 - optimizer.momentum):,.0f} gradients, most of them long outdated."
        yield Finding("optimizer.momentum", reason, "Use 0.9.")


@rule('Sutskever et al. 2013, "On the Importance of Initialization and Momentum in Deep Learning"')
def no_momentum(view: View) -> Findings:
    """Deep networks have long curved valleys, along which gradient descent without momentum creeps."""
    optimizer, noisy = view.spec.optimizer, view.has(Dropout, SpatialDropout, AlphaDropout)
    if isinstance(optimizer, Sgd) and not optimizer.momentum and len(view.hidden) >= DEEP and not noisy:
        reason = f"Through {len(view.hidden)} hidden layers directions of little slope are learned very slowly."
        yield Finding("optimizer.momentum", reason, "Use 0.9, with nesterov.")


@rule(f"{KINGMA}, section 4")
def adam_betas(view: View) -> Findings:
    """Adam is known to converge where beta_1 squared is below the root of beta_2."""
    optimizer = view.spec.optimizer
    if isinstance(optimizer, AdamFamily) and optimizer.beta_1**2 >= optimizer.beta_2**0.5:
        reason = "The mean remembers longer than the mean square that should bound it: steps can grow without bound."
        yield Finding("optimizer.beta_2", reason, "Use 0.999, and 0.9 for beta_1.")


@rule('Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method", section 3')
def adagrad_length(view: View) -> Findings:
    """Adagrad divides by all squared gradients so far, so that its steps shrink to nothing over a long run."""
    if isinstance(view.spec.optimizer, Adagrad) and view.spec.training.epochs >= LONG:
        reason = f"Long before the end of {view.spec.training.epochs} epochs its steps have shrunk to almost nothing."
        yield Finding("optimizer.type", reason, 'Use "rmsprop", "adadelta" or "adam".')


@rule('Robbins and Monro 1951, "A Stochastic Approximation Method"')
def constant_sgd(view: View) -> Findings:
    """Steps from batches are noise around the minimum unless the rate falls."""
    spec = view.spec
    sampled = spec.training.batch_size != "all" and spec.training.averaging is None
    long = spec.training.epochs >= LONG and isinstance(spec.schedule, ConstantSchedule)
    if isinstance(spec.optimizer, Sgd) and long and sampled:
        reason = "With a constant rate the weights keep jumping around the minimum instead of settling in it."
        yield Finding("schedule", reason, 'Use "cosine", or average the weights (training.averaging).')


@rule(f"{GOODFELLOW}, section 8.1.3")
def lbfgs_batches(view: View) -> Findings:
    """Curvature from gradients of small batches is mostly noise: L-BFGS wants all rows."""
    if isinstance(view.spec.optimizer, Lbfgs) and view.spec.training.batch_size != "all":
        reason = "The curvature that it estimates from one batch is wrong for the next."
        yield Finding("training.batch_size", reason, 'Use "all", or the optimizer "adam".')


@rule('Bottou, Curtis and Nocedal 2018, "Optimization Methods for Large-Scale Machine Learning", section 6.2')
def lbfgs_noise(view: View) -> Findings:
    """L-BFGS compares losses from step to step, which only tells something when nothing else changes them."""
    spec = view.spec
    drawn = [site.path for site in view.sites if site.layer.stochastic]
    places = [*drawn, *["data.augmentation"] * bool(spec.data.augmentation)]
    places += ["regularization.mixing"] * (spec.regularization.mixing is not None)
    if isinstance(spec.optimizer, Lbfgs) and places:
        reason = "It makes the loss another one at every step, and differences of gradients say nothing of curvature."
        yield Finding(places[0], reason, 'Leave it out, or use the optimizer "adam".')


@rule(f"{LECUN}, section 4.1")
def whole_batch(view: View) -> Findings:
    """Rows are alike, so that a step on a few teaches nearly as much as one on all, in a fraction of the time."""
    rows = view.known.training_rows
    whole = view.spec.training.batch_size == "all" and not isinstance(view.spec.optimizer, Lbfgs)
    if rows is not None and whole and rows >= MANY_ROWS:
        reason = f"An epoch over {rows:,} rows is a single step."
        yield Finding("training.batch_size", reason, "Use 32 to 512.")


@rule(f"{BENGIO}, section 3.1.2")
def single_row(view: View) -> Findings:
    """Batches of some ten rows are as good as single ones and much faster."""
    training = view.spec.training
    if training.batch_size == 1 and training.accumulate == 1:
        reason = "Every row is a step of its own: slow, and each undoes part of the one before."
        yield Finding("training.batch_size", reason, "Use 32.")


@rule(f"{GOODFELLOW}, section 8.1.3")
def batch_beyond_rows(view: View) -> Findings:
    """A batch cannot hold more rows than there are."""
    rows, batch = view.known.training_rows, view.spec.training.batch_size
    if rows is not None and batch != "all" and batch * view.spec.training.accumulate > rows:
        reason = f"There are about {rows} rows to train on: every epoch is one step on all of them."
        yield Finding("training.batch_size", reason, f'Use {max(1, min(32, rows // 8))}, or "all" if that is meant.')


@rule('Keskar et al. 2017, "On Large-Batch Training for Deep Learning: Generalization Gap and Sharp Minima"')
def large_batch(view: View) -> Findings:
    """Batches of a tenth of the rows or more end in sharp minima, which generalise worse."""
    rows, training = view.known.training_rows, view.spec.training
    size = 0 if training.batch_size == "all" else training.batch_size * training.accumulate
    if rows is not None and LARGE_BATCH <= size <= rows and size >= LARGE_SHARE * rows:
        reason = f"{size:,} of {rows:,} rows make a step: there are few, and they end in sharp minima."
        yield Finding("training.batch_size", reason, "Use 32 to 512.")


@rule(f"{GOYAL}, section 2.2")
def large_batch_warmup(view: View) -> Findings:
    """Gradient descent on large batches needs a rate that rises slowly at first."""
    spec = view.spec
    size = 0 if spec.training.batch_size == "all" else spec.training.batch_size * spec.training.accumulate
    cold = spec.schedule.warmup_epochs == 0 and spec.schedule.type != "one_cycle"
    if isinstance(spec.optimizer, Sgd) and size >= LARGE_BATCH and cold:
        reason = f"With {size:,} rows a step the large rate that suits them throws fresh weights off."
        yield Finding("schedule.warmup_epochs", reason, "Set schedule.warmup_epochs to about 5.")


@rule('PyTorch 2026, "Automatic Mixed Precision package - torch.amp", section CPU training; docs/performance.md')
def float16_on_cpu(view: View) -> Findings:
    """Few processors compute in float16: it is emulated, many times slower than float32."""
    training = view.spec.training
    if training.precision == "float16" and training.device != "cuda":
        reason = "On a processor without units for float16 its products take ten times as long or more."
        yield Finding("training.precision", reason, 'Use "float32" or "bfloat16", or set training.device to "cuda".')
