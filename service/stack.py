"""`trainyard up`: which processes make a whole installation, and the folder they live in."""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

import httpx

from service.broker import answers, redis_command, socket_path
from service.devices import by_kind
from service.forks import FORKS, Nursery
from service.programs import Program, StartFailed, end_with, opened
from service.settings import Settings
from service.supervisor import StopRequested, Supervisor

START_SECONDS = 120.0


def server_command(settings: Settings) -> list[str]:
    """Return the command line of the HTTP server."""
    return [
        *(sys.executable, "-m", "uvicorn", "service.api.app:serve", "--factory"),
        *("--host", settings.host, "--port", str(settings.port)),
        # The application writes its own line for each request.
        *("--log-level", settings.log_level.lower(), "--no-access-log", "--timeout-graceful-shutdown", "5"),
    ]


def worker_commands(settings: Settings) -> dict[str, list[str]]:
    """Return the command lines of the workers that make up the slots of these settings, one a kind of device."""
    command, slots = [sys.executable, "-m", "worker"], by_kind(settings.devices)
    if len(slots) == 1:
        return {"worker": command}
    # Each of them sees only its own slots, and would take the whole processor for those.
    shared = f"TRAINYARD_THREADS_PER_SLOT={settings.threads_of_a_job}"
    return {
        f"worker-{kind}": ["/usr/bin/env", f"TRAINYARD_DEVICES={of}", shared, *command] for kind, of in slots.items()
    }


def predictor_command() -> list[str]:
    """Return the command line of what makes queued predictions."""
    return [sys.executable, "-m", "worker.predicting"]


def migrate_command() -> list[str]:
    """Return the command line that brings the database up to date."""
    return [sys.executable, "-m", "service.migrate"]


def up(settings: Settings, say: Callable[[str], None]) -> None:
    """Run Redis, the migrations, a worker, a predictor and the server until a signal, then stop them all.

    Raises:
        StartFailed: Something could not be brought up; the message says what and why.
    """
    with ExitStack() as cleanup:
        home = cleanup.enter_context(_home(settings.home))
        broker = None if settings.broker_url else cleanup.enter_context(socket_path(home))
        settings = _resolve(settings, home, broker)
        nursery = cleanup.enter_context(Nursery()) if FORKS else None
        supervisor = cleanup.enter_context(Supervisor(settings.environment(), say))
        try:
            _start(supervisor, settings, broker, nursery)
        except StopRequested:
            return
        cleanup.enter_context(_published(home / "url", settings.url))
        say(f"trainyard is ready at {settings.url} (documentation: {settings.url}/docs)")
        say(f"Everything it keeps is in {home}; logs in {home / 'logs'}. Ctrl-C stops it.")
        supervisor.watch()
        say("stopping ...")


def work(settings: Settings, say: Callable[[str], None]) -> None:
    """Run workers with slots of several kinds until a signal, then stop them all."""
    logs = settings.home.resolve() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with Supervisor(settings.environment(), say) as supervisor:
        for name, command in worker_commands(settings).items():
            supervisor.start(Program(name, command, _fresh(logs / f"{name}.log")))
        say(f"workers run with the slots {settings.devices}; logs in {logs}")
        supervisor.watch()


@contextmanager
def temporary_stack(variables: Mapping[str, str] = MappingProxyType({})) -> Iterator[tuple[str, Path]]:
    """Run `trainyard up` in a home that goes away with it; give its URL and that home. For demos and benchmarks.

    `variables` are added to its environment.
    It stays in the group of this process, so that a Ctrl-C reaches it too: it then stops by itself.

    Raises:
        StartFailed: It did not come up; the message is what it said.
    """
    with tempfile.TemporaryDirectory(prefix="trainyard-") as folder:
        said, home = Path(folder) / "up.log", Path(folder) / "home"
        given = ["/usr/bin/env", *(f"{name}={value}" for name, value in variables.items())] if variables else []
        command = [*given, sys.executable, "-m", "service.cli", "up", "--home", str(home), "--port", "0"]
        with said.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=end_with(os.getpid()))
        try:
            while not (home / "url").exists():
                if process.poll() is not None:
                    raise StartFailed(said.read_text())
                time.sleep(0.05)
            yield (home / "url").read_text().strip(), home
        finally:
            process.terminate()
            process.wait()


def _start(supervisor: Supervisor, settings: Settings, broker: Path | None, nursery: Nursery | None) -> None:
    logs = settings.home / "logs"
    if broker:
        supervisor.start(Program("redis", redis_command(broker), _fresh(logs / "redis.log"), foundation=True))
    supervisor.finish(Program("migrate", migrate_command(), _fresh(logs / "migrate.log")))
    if broker:
        supervisor.wait_until(lambda: answers(broker), START_SECONDS, "redis")
    if nursery:
        supervisor.wait_until(nursery.ready, START_SECONDS, "what server and worker import")
    start = nursery.start if nursery else opened
    commands = {**worker_commands(settings), "server": server_command(settings)}
    if settings.predictors:
        commands["predictor"] = predictor_command()
    for name, command in commands.items():
        supervisor.start(Program(name, command, _fresh(logs / f"{name}.log"), start=start))
    supervisor.wait_until(lambda: _is_ready(settings.url), START_SECONDS, "trainyard")


def _resolve(settings: Settings, home: Path, broker: Path | None) -> Settings:
    """Return the settings with a home that is absolute, a port that is free and the URLs that follow."""
    port = _free_port(settings.host, settings.port)
    values = settings.model_dump() | {"home": home, "port": port, "url": _url(settings.host, port)}
    return Settings(**values | ({"broker_url": f"redis+socket://{broker}"} if broker else {}))


@contextmanager
def _home(folder: Path) -> Iterator[Path]:
    """Make the folder and hold it, so that no second stack uses it at the same time."""
    home = folder.resolve()
    try:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("ab")
    except OSError as error:
        raise StartFailed(f"cannot write to the home folder {home}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            where = (home / "url").read_text() if (home / "url").exists() else "another address"
            raise StartFailed(f"{home} is in use: trainyard already runs from it at {where.strip()}") from error
        yield home


@contextmanager
def _published(file: Path, url: str) -> Iterator[None]:
    """Let client commands with the same home find the server; whoever finds the file finds all of it."""
    whole = file.with_suffix(".new")
    whole.write_text(url + "\n")
    whole.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _free_port(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"cannot listen on {host}, port {port}: {error.strerror}"
            raise StartFailed(f"{reason}. Choose another port with --port, or let --port 0 find one.") from error
        return int(probe.getsockname()[1])


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _fresh(log: Path) -> Path:
    """Set the log of the last run aside, so that what it holds is of this one."""
    if log.exists():
        log.replace(log.with_suffix(".old.log"))
    return log


def _is_ready(url: str) -> bool:
    try:
        # Nothing is encrypted here, and to load certificates takes longer than all else, twenty times a second.
        return httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False, verify=False).status_code == 200
    except httpx.HTTPError:
        return False
