"""Where the coordinator keeps its state and where it listens."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from platformdirs import user_config_path, user_state_path

from swarmpb.endpoints import Endpoint

DEFAULT_HOST = "127.0.0.1"
DEFAULT_GRPC_PORT = 7700
DEFAULT_P2P_PORT = 7701
DEFAULT_HTTP_PORT = 7780
DEFAULT_ADDRESS = f"{DEFAULT_HOST}:{DEFAULT_GRPC_PORT}"

DEMO_SHORTEST_TOKENS = 20_000
"""A shorter demo ends before anything can happen to it."""

STATE_DIR_VARIABLE = "COORDINATOR_STATE_DIR"
DATABASE_VARIABLE = "COORDINATOR_DATABASE"
TOKEN_FILE = "admin.token"  # noqa: S105  the name of its file
TOKEN_VARIABLE = "COORDINATOR_TOKEN"  # noqa: S105  the name of a variable


def default_state_dir() -> Path:
    """The user's state folder for the coordinator; not created here."""
    return user_state_path("murmuration") / "coordinator"


def state_dir() -> Path:
    """That of this machine's coordinator, as the environment or the default has it."""
    told = os.getenv(STATE_DIR_VARIABLE)
    return Path(told) if told else default_state_dir()


def sqlite_file(state_dir: Path) -> Path:
    """The embedded database."""
    return state_dir / "coordinator.sqlite"


def owner_key_path() -> Path:
    """The file of the run owner's signing key; not created here."""
    return user_config_path("murmuration") / "owner.key"


LogFormat = Literal["plain", "json"]
WEBHOOK_SECRET_VARIABLE = "COORDINATOR_WEBHOOK_SECRET"  # noqa: S105  where it is, not what


@dataclass(frozen=True)
class TlsFiles:
    """A certificate chain and its key, in PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class ServeSettings:
    """What `coordinator serve` was asked to do. Port 0 takes a free one."""

    state_dir: Path
    owner_key: Path
    host: str = DEFAULT_HOST
    grpc_port: int = DEFAULT_GRPC_PORT
    p2p_port: int = DEFAULT_P2P_PORT
    http_port: int = DEFAULT_HTTP_PORT
    demo: bool = False
    """Register the embedded run `demo`."""
    tls: TlsFiles | None = None
    """The owner's own certificate; None: one is made, and used for anything but loopback."""
    advertise: Endpoint | None = None
    """What join links name; None: an address that this machine has."""
    restore_owners: tuple[bytes, ...] = ()
    """Public keys of run owners besides this machine's own, whose lost runs peers may restore."""
    database_url: str | None = field(default=None, repr=False)
    """Of a PostgreSQL database, with its password; None: a SQLite file in the state folder."""
    log_format: LogFormat = "plain"
    log_level: str = "info"
    webhooks: tuple[str, ...] = ()
    """Addresses that alarms are sent to."""
    webhook_secret_file: Path | None = None
    """Instead of the environment's secret, or the one in the state folder."""

    @property
    def database(self) -> Path | str:
        return self.database_url or sqlite_file(self.state_dir)

    @property
    def tombstones(self) -> Path:
        """The runs that their owner has deleted."""
        return self.state_dir / "deleted-runs"

    @property
    def own_tls(self) -> TlsFiles:
        """Where the coordinator's own certificate is kept."""
        return TlsFiles(self.state_dir / "tls.crt", self.state_dir / "tls.key")

    @property
    def identity(self) -> Path:
        """The libp2p identity of the coordinator's DHT peer."""
        return self.state_dir / "p2p_identity"

    @property
    def models(self) -> Path:
        """The last models of runs that have ended, a folder each."""
        return self.state_dir / "models"

    @property
    def parameter_counts(self) -> Path:
        """The sizes of the runs' models, which take long to find."""
        return self.state_dir / "parameters.json"

    @property
    def webhook_secret(self) -> Path:
        """Signs what is sent to webhooks, unless another is named; made when it is needed."""
        return self.state_dir / "webhook.secret"

    @property
    def webhook_memory(self) -> Path:
        """Tells what was delivered to webhooks."""
        return self.state_dir / "webhooks.json"

    @property
    def authority_key(self) -> Path:
        """The key that speaks for this coordinator's runs."""
        return self.state_dir / "authority.key"

    @property
    def admin_token(self) -> Path:
        """Who can read it may administer this coordinator."""
        return self.state_dir / TOKEN_FILE
