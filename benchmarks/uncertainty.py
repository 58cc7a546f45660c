"""Monte-Carlo dropout on the regression sets of the paper that it comes from, over HTTP, beside what the paper found.

    TRAINYARD_SLOTS=2 python benchmarks/uncertainty.py --data DIR [--sets NAME ...] [--splits N]

DIR holds a folder a set, see uci.py. The network is the paper's: one hidden layer of ReLU units, dropout before each of
the two layers with weights, Adam, features and target standardised. For every split, and looking at no test row:

1. The dropout rate is chosen as the authors do it: the one that gives the last fifth of the training rows, when the
   others train, the largest log-likelihood with the noise that is fitted to it.
2. The precision of the noise comes from cross-validation: each fifth of the training rows in turn calibrates a network
   that the others train, and the variances of the noise that are fitted are averaged.
3. The network is trained once more, on all training rows. Its samples and this noise meet the test rows.

The test log-likelihood is minus the `nll` of `POST /v1/models/{id}/evaluate`, the estimator of the paper's appendix,
eq. 22, in the target's own units; RMSE is that of the mean of the samples. For some rows of every set both are computed
once more from `return_samples`.

Reference: Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation", table 1 and appendix.
"""

import argparse
import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from uci import TARGET, DataSet, Floats, folds, read, write

from service.client import Client, Json
from service.stack import temporary_stack

BATCH = 32
STEPS = 6_000
"""About as many steps are taken, in at least as many epochs as the folder says."""
PENALTY = 1e-4
"""Factor on the sum of the squared weights; the prior of the paper comes to one that is nearly 0."""
FOLDS = 5
SAMPLES = 10_000
CHOICE_SAMPLES = 1_000
CHECKED_ROWS = 20
PUBLISHED = {
    "boston": (2.97, 0.85, -2.46, 0.25),
    "concrete": (5.23, 0.53, -3.04, 0.09),
    "energy": (1.66, 0.19, -1.99, 0.09),
    "kin8nm": (0.10, 0.005, 0.95, 0.03),
    "naval": (0.01, 0.005, 3.80, 0.05),
    "power": (4.02, 0.18, -2.80, 0.05),
    "protein": (4.36, 0.04, -2.89, 0.01),
    "wine": (0.62, 0.04, -0.93, 0.06),
    "yacht": (1.11, 0.38, -1.55, 0.12),
}
"""RMSE and log-likelihood of table 1, each with its deviation over the splits, by how a folder's name begins. Where the
table says 0.00, half of the last digit."""


class Trial:
    """One split on its way to its figures."""

    def __init__(self, client: Client, data: DataSet, number: int, file: Path) -> None:
        """Upload the training rows, and submit a job for every dropout rate."""
        self.client, self.data, self.number = client, data, number
        self.train, self.test = data.splits[number].train, data.splits[number].test
        self.columns = write(self.train, data.columns, FOLDS, file)
        self.dataset = client.upload(file, f"{data.name} {number}")["id"]
        self.jobs = {rate: self.submit(rate, self.columns[0]) for rate in data.rates}

    def submit(self, rate: float, fold: str | None) -> str:
        """Submit a job whose validation rows are those of a fold, or that trains on all rows; return its id."""
        rows = len(self.train) if fold is None else len(self.train) * (FOLDS - 1) // FOLDS
        spec = specification(self.data, rate, rows)
        spec["data"] |= {"dataset": self.dataset, "split": {"column": fold} if fold else {"validation": 0.0}}
        spec["training"] |= {"seed": self.number}
        return self.client.submit(spec).id

    def choose(self) -> None:
        """Choose the rate that gives the rows of the first fold the largest log-likelihood; submit the other folds."""
        rows, asked = self.train[next(folds(len(self.train), FOLDS))], {"mc_samples": CHOICE_SAMPLES, "seed": 1}
        found = {rate: evaluated(self.client, self.model(job), rows, asked) for rate, job in self.jobs.items()}
        self.rate = max(found, key=lambda rate: found[rate][1])
        self.fold_jobs = [self.jobs[self.rate], *(self.submit(self.rate, fold) for fold in self.columns[1:])]

    def train_on_all(self) -> None:
        """Take the mean of the noise variances of all folds, and submit the job that trains on all rows."""
        variances = [1.0 / self.calibration(job)["noise_precision"] for job in self.fold_jobs]
        self.noise_precision = 1.0 / statistics.fmean(variances)
        self.last = self.submit(self.rate, None)

    def figures(self) -> tuple[float, float]:
        """Return RMSE and log-likelihood of the test rows."""
        asked = {"mc_samples": SAMPLES, "seed": 1, "noise_precision": self.noise_precision}
        model = self.model(self.last)
        if not self.number:
            compare(self.client, model, self.test[:CHECKED_ROWS], asked)
        return evaluated(self.client, model, self.test, asked)

    def calibration(self, job_id: str) -> Json:
        """Return what a job's validation rows taught."""
        return dict(self.client.model(self.model(job_id))["calibration"])

    def model(self, job_id: str) -> str:
        """Wait for a job, and return its model.

        Raises:
            SystemExit: It failed.
        """
        job = self.client.wait(job_id)
        if job.model is None:
            raise SystemExit(f"job {job_id} is {job.status}: {job.error}")
        return job.model


def specification(data: DataSet, rate: float, rows: int) -> Json:
    """Return the paper's network, to be trained on so many rows."""
    dropout = {"type": "dropout", "rate": rate}
    dense = {"type": "dense", "units": data.hidden, "activation": "relu"}
    return {
        "network": {"layers": [dropout, dense, dropout, {"type": "dense", "units": "auto"}]},
        "loss": "mse",
        "optimizer": {"type": "adam", "learning_rate": 0.01},
        "schedule": "cosine",
        "regularization": {"l2": PENALTY},
        "data": {
            "target": TARGET,
            "features": data.columns,
            "preprocessing": "standardize",
            "target_preprocessing": "standardize",
        },
        # The validation rows are there for the noise; an epoch that suits them best would make it look smaller.
        "training": {"epochs": epochs(data.epochs, rows), "batch_size": BATCH, "keep": "last"},
        "metrics": ["rmse"],
    }


def epochs(fewest: int, rows: int) -> int:
    """Return how many epochs to train on so many rows."""
    return max(fewest, math.ceil(STEPS / math.ceil(rows / BATCH)))


def log_likelihood(y: Floats, samples: Floats, noise_precision: float) -> float:
    """Return the mean over the rows of log(1/T sum_t N(y; f_t, 1 / tau)), of `y` [R] and `samples` [R, T].

    Reference: Gal and Ghahramani 2016, appendix, eq. 22.
    """
    exponents = -0.5 * noise_precision * np.square(y[:, None] - samples)
    sums = np.logaddexp.reduce(exponents, axis=1)
    return float(np.mean(sums - math.log(samples.shape[1]) + 0.5 * math.log(noise_precision / (2 * math.pi))))


def evaluated(client: Client, model: str, rows: Floats, asked: Json) -> tuple[float, float]:
    """Return RMSE and log-likelihood as the service evaluates them."""
    found = client.request("POST", f"/v1/models/{model}/evaluate", json=asked | {"rows": rows.tolist()})["metrics"]
    return found["rmse"], -found["nll"]


def compare(client: Client, model: str, rows: Floats, asked: Json) -> None:
    """See that evaluation says what follows from the single samples.

    Raises:
        SystemExit: It does not.
    """
    said = client.predict(model, rows[:, :-1].tolist(), return_samples=True, **asked)["predictions"]
    y, samples = rows[:, -1], np.array([row["samples"] for row in said])
    rmse = float(np.sqrt(np.mean(np.square(samples.mean(1) - y))))
    ours, theirs = (
        (rmse, log_likelihood(y, samples, asked["noise_precision"])),
        evaluated(client, model, rows, asked),
    )
    if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
        raise SystemExit(f"the samples come to {ours}, the evaluation to {theirs}")


def measure(client: Client, data: DataSet, folder: Path) -> Iterator[tuple[float, float, float]]:
    """Yield the dropout rate, RMSE and log-likelihood of every split of a set."""
    trials = [Trial(client, data, number, folder / "rows.csv") for number in range(len(data.splits))]
    # All splits take each step together, so that the workers never wait for this process.
    for trial in trials:
        trial.choose()
    for trial in trials:
        trial.train_on_all()
    for trial in trials:
        yield trial.rate, *trial.figures()


def line(data: DataSet, rmse: Sequence[float], likelihood: Sequence[float]) -> str:
    """Return a line of the table; the verdict is `as good` within a standard error of what the paper found."""
    published = next((row for name, row in PUBLISHED.items() if data.name.lower().startswith(name)), None)
    cells, good = [], []
    for at, values in enumerate((rmse, likelihood)):
        mean = statistics.fmean(values)
        cells.append(f"{mean:8.3f} ± {standard_error(statistics.stdev(values), len(values)):.3f}")
        if published:
            theirs, error = published[2 * at], standard_error(published[2 * at + 1], data.count)
            cells.append(f"{theirs:6.2f} ± {error:.2f}")
            good.append(mean - theirs <= error if at == 0 else theirs - mean <= error)
    verdict = ("as good" if all(good) else "worse") if published else ""
    return f"{data.name:<26} {len(rmse):>3}  " + "  ".join(cells) + f"  {verdict}"


def standard_error(deviation: float, count: int) -> float:
    """Return the standard error of a mean over so many splits."""
    return deviation / math.sqrt(count)


def main() -> None:
    """Train and test on every set, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder a set")
    parser.add_argument("--sets", nargs="+", help="which of them; default: all")
    parser.add_argument("--splits", type=int, help="at most so many splits of each, at least 2; default: all")
    asked = parser.parse_args()
    names = asked.sets or sorted(folder.name for folder in asked.data.iterdir() if folder.is_dir())
    sets = [read(asked.data / name, asked.splits) for name in names]
    print(f"{'':<26} {'':>3}  {'RMSE':>16}  {'paper':>13}  {'log-likelihood':>16}  {'paper':>13}")
    with temporary_stack() as (url, home), Client(url) as client:
        for data in sets:
            start = time.monotonic()
            rates, rmse, likelihood = zip(*measure(client, data, home), strict=True)
            print(line(data, rmse, likelihood), flush=True)
            counts = ", ".join(f"{rate:g} ({count})" for rate, count in sorted(Counter(rates).items()))
            print(f"    {time.monotonic() - start:,.0f} s; dropout rates chosen: {counts}", flush=True)


if __name__ == "__main__":
    main()
