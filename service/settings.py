"""The one place where the environment is read: every setting, its bounds and its default."""

import os
from functools import cached_property
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.devices import SLOTS_PATTERN, read_slots
from service.machine import available_memory
from service.submitters import SUBMITTER_PATTERN

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Settings of one installation, from `TRAINYARD_*` variables."""

    model_config = SettingsConfigDict(env_prefix="TRAINYARD_", frozen=True, extra="ignore")

    home: Path = Field(Path(".trainyard"), description="Folder of the embedded database, Redis socket and logs.")
    database_url: str | None = Field(
        None, description="SQLAlchemy URL; unset: SQLite in `home`. PostgreSQL: `postgresql+psycopg://...`."
    )
    broker_url: str | None = Field(None, description="Redis URL; unset: the socket `redis.sock` in `home`.")
    url: str = Field("http://127.0.0.1:8000", description="Where the client commands find the server.")
    submitter: str | None = Field(
        None,
        pattern=SUBMITTER_PATTERN,
        description="In whose name the client commands submit jobs, for fair turns; unset: anonymous.",
    )
    host: str = Field("127.0.0.1", description="Address the server listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the server listens on; 0 picks a free one.")

    max_upload_bytes: int = Field(4096 * MIB, gt=0, description="Largest accepted data set file, in bytes.")
    max_unpacked_bytes: int = Field(16384 * MIB, gt=0, description="Largest data set after unpacking, in bytes.")
    max_json_bytes: int = Field(64 * MIB, gt=0, description="Largest accepted JSON body, in bytes.")
    max_columns: int = Field(20_000, gt=0, description="Most columns of a data set.")
    chunk_bytes: int = Field(4 * MIB, ge=1024, description="Size of the chunks in which bytes are stored.")

    max_parameters: int = Field(1_000_000_000, gt=0, description="Most parameters of a network.")
    max_training_bytes: int = Field(
        0, ge=0, description="Most memory that training may take, by estimate; 0: what this machine has."
    )
    max_data_bytes: int = Field(
        0,
        ge=0,
        description="Most memory that the data of a job may take; larger data are streamed from the cache. 0: half of "
        "what MAX_TRAINING_BYTES allows, or the machine has for each slot.",
    )
    cache: Path | None = Field(
        None, description="Folder for data that are too large for memory; unset: `cache` in `home`. One a machine."
    )
    cache_bytes: int = Field(
        65536 * MIB, gt=0, description="Most bytes in CACHE; what was used longest ago goes when there is no room."
    )
    max_predict_rows: int = Field(100_000, gt=0, description="Most rows in one predict request.")
    max_mc_samples: int = Field(100_000, gt=0, description="Most Monte-Carlo samples a row.")
    max_predict_values: int = Field(
        200_000_000, gt=0, description="Most rows x samples x outputs in one predict request."
    )
    max_evaluate_rows: int = Field(5_000_000, gt=0, description="Most rows of a data set that is evaluated on.")
    max_evaluate_values: int = Field(
        2_000_000_000, gt=0, description="Most rows x samples x outputs (x columns x repeats) in one evaluation."
    )
    max_answer_values: int = Field(5_000_000, gt=0, description="Most single samples in one predict answer.")
    predict_tile_bytes: int = Field(64 * MIB, ge=MIB, description="Memory for one tile of Monte-Carlo activations.")
    predict_batch_rows: int = Field(
        256, ge=1, description="Most rows that predict requests which come together are run in; 1: each runs alone."
    )
    predict_wait_seconds: float = Field(
        0.0, ge=0, le=1, description="How long requests that wait for a busy model anyway may wait for more company."
    )
    max_predictions: int = Field(512, ge=1, description="Most predict requests in progress; more are answered 503.")
    max_predictions_bytes: int = Field(
        256 * MIB, gt=0, description="Most bytes that the bodies of these requests may take together."
    )
    max_stream_bytes: int = Field(
        4096 * MIB, gt=0, description="Largest file of rows to be predicted, in bytes; it waits on the disk."
    )
    max_stream_values: int = Field(
        20_000_000_000, gt=0, description="Most rows x samples x outputs of one file or data set that is predicted."
    )
    max_streams: int = Field(4, ge=1, description="Files that are predicted at the same time; more are answered 503.")
    stream_stall_seconds: float = Field(
        60.0, gt=0, description="How long a client may send none of its file, or take none of the answer to it."
    )
    predictors: int = Field(1, ge=0, description="Queued predictions that a predictor works on at once; 0: none.")
    max_queued_predictions: int = Field(1000, ge=1, description="Most predictions that may wait for a predictor.")
    model_cache_bytes: int = Field(1024 * MIB, ge=0, description="Memory for loaded models, least recently used out.")
    predict_threads: int = Field(1, ge=1, description="Processor threads one prediction uses.")

    max_exports: int = Field(1, ge=1, description="Models that are exported at the same time, each by its own process.")
    export_seconds: float = Field(300.0, gt=0, description="How long one export may take.")
    export_cache_bytes: int = Field(
        512 * MIB, ge=0, description="Disk space for exported files that may be asked for again."
    )

    max_queued: int = Field(0, ge=0, description="Most jobs that may wait for a worker; 0: no limit.")
    max_queued_per_submitter: int = Field(0, ge=0, description="Most jobs of one submitter that may wait; 0: no limit.")
    max_running: int = Field(0, ge=0, description="Most jobs at work at the same time, on all workers; 0: no limit.")
    max_running_per_submitter: int = Field(
        0, ge=0, description="Most jobs of one submitter at work at the same time; 0: no limit."
    )

    devices: str = Field(
        "auto",
        pattern=SLOTS_PATTERN,
        description="Slots of the worker, one job each: a list like `cpu,cpu,cuda:0`; `cuda:1+cuda:2` is a slot of two "
        "GPUs. auto: as many as SLOTS says, on every GPU, or on the CPU where there is none.",
    )
    slots: int = Field(1, ge=1, description="Where DEVICES is auto: jobs that a worker trains on each device at once.")
    threads_per_slot: int = Field(0, ge=0, description="Processor threads a job uses; 0: cores divided by slots.")
    lease_seconds: float = Field(30.0, gt=0, description="How long a silent worker keeps its job.")
    heartbeat_seconds: float = Field(0.5, gt=0, description="How often a worker extends its lease and reads commands.")
    checkpoint_seconds: float = Field(15.0, ge=0, description="Seconds between checkpoints, unless the job says.")
    reconcile_seconds: float = Field(2.0, gt=0, description="How often queued and lost jobs are looked after.")
    outage_seconds: float = Field(
        600.0, ge=0, description="How long a run waits for a database that does not answer before it leaves its job."
    )
    max_attempts: int = Field(3, ge=1, description="Attempts after which a job that kills its worker fails.")

    webhook_allow_private: bool = Field(
        False, description="Whether webhooks may lead to loopback, private and other addresses that are not public."
    )
    webhook_senders: int = Field(8, ge=0, description="Webhooks one process sends to at the same time; 0: none.")
    webhook_seconds: float = Field(10.0, gt=0, description="How long one try to send to a webhook may take.")
    webhook_tries: int = Field(15, ge=1, description="Tries after which a delivery to a webhook is given up.")
    webhook_retry_seconds: float = Field(
        5.0, gt=0, description="Pause after the first failed try; it doubles with each, up to an hour."
    )

    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @cached_property
    def effective_database_url(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'trainyard.db'}"

    @cached_property
    def effective_broker_url(self) -> str:
        """The Redis URL in force."""
        return self.broker_url or f"redis+socket://{self.home.resolve() / 'redis.sock'}"

    def environment(self) -> dict[str, str]:
        """The environment of a child process that is to have these settings."""
        values = self.model_dump(mode="json", exclude_none=True)
        prefix = self.model_config["env_prefix"]
        return dict(os.environ) | {f"{prefix}{name.upper()}": str(value) for name, value in values.items()}

    @cached_property
    def cores(self) -> int:
        """Processors this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @cached_property
    def memory_of_a_job(self) -> int:
        """Bytes that training a job may take."""
        return self.max_training_bytes or available_memory()

    @cached_property
    def data_in_memory(self) -> int:
        """Bytes up to which the data of a job are in memory, and not streamed."""
        return self.max_data_bytes or (self.max_training_bytes or available_memory() // self._slots) // 2

    @cached_property
    def cache_folder(self) -> Path:
        """Where data are that are too large for memory."""
        return (self.cache or self.home / "cache").resolve()

    @cached_property
    def threads_of_a_job(self) -> int:
        """Processor threads one job uses."""
        return self.threads_per_slot or max(1, self.cores // self._slots)

    @cached_property
    def _slots(self) -> int:
        return len(read_slots(self.devices) or range(self.slots))
