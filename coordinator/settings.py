"""Settings: command line over environment (``COORDINATOR_…``) over a settings file over defaults.

The settings file is TOML: ``coordinator.toml`` in the working directory, or the file that
``COORDINATOR_SETTINGS`` names. Its keys are the fields below.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from coordinator.errors import Unusable

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")


STORE_RULE = "must read sqlite:PATH or firestore:PROJECT[/DATABASE]"
HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,20}")
FILE_VARIABLE = "COORDINATOR_SETTINGS"
DEFAULT_FILE = "coordinator.toml"


class Settings(BaseSettings):
    """Everything that a deployment can configure."""

    model_config = SettingsConfigDict(
        env_prefix="COORDINATOR_", extra="forbid", env_ignore_empty=True
    )

    registry: Path = Field(Path("registry.yaml"), description="The registry file.")
    store: str = Field(
        "sqlite:state.db",
        description="Where state lives: sqlite:PATH or firestore:PROJECT[/DATABASE].",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Host names that the open service answers to in addition to loopback names: "
        "those that a reverse proxy forwards. A list; in the variable, separated by commas.",
    )
    warehouse: str = Field(
        "duckdb:warehouse.duckdb",
        description="Where local runs read and write tables: duckdb:PATH.",
    )
    launch: Literal["local"] | str = Field(
        "local",
        description="Launch target of processors without one in the registry: local, or an http URL.",
    )
    workers: int = Field(
        2,
        ge=1,
        le=64,
        description="Local runs that execute in parallel, each in its own process.",
    )
    shutdown_seconds: float = Field(
        5.0,
        ge=0.0,
        le=3600.0,
        description="How long a stop waits for local runs to end. Then they are interrupted, and "
        "the next start runs them again under the same lease.",
    )
    launches_per_target: int = Field(
        8,
        ge=1,
        le=256,
        description="Concurrent launches to one HTTP target. Each target has its own limit, so one "
        "that hangs delays no other.",
    )
    launch_timeout_seconds: float = Field(
        10.0,
        gt=0.0,
        le=55.0,
        description="The longest time for an HTTP target to answer a launch, including headers.",
    )
    public_url: str | None = Field(None, description="Base URL of the links in notices.")
    webhook_url: SecretStr | None = Field(None, description="POST notices here, as JSON.")
    webhook_secret: SecretStr | None = Field(
        None, description="Shared secret that signs webhook notices (HMAC-SHA256)."
    )
    webhook_severity: Severity = Field("info", description="Lowest severity sent to the webhook.")
    slack_url: SecretStr | None = Field(None, description="Slack-compatible incoming webhook.")
    slack_severity: Severity = Field("warning", description="Lowest severity sent to Slack.")
    log_severity: Severity = Field("info", description="Lowest severity of notices in the log.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Lowest level of log lines. At `info`, every load and every change of a "
        "partition's status is logged.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, otherwise JSON."
    )

    @field_validator("store")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if not is_store(value):
            raise ValueError(STORE_RULE)
        return value

    @field_validator("warehouse")
    @classmethod
    def _known_warehouse(cls, value: str) -> str:
        kind, _, rest = value.partition(":")
        if kind != "duckdb" or not rest:
            raise ValueError("must read duckdb:PATH")
        return value

    @field_validator("launch")
    @classmethod
    def _known_launch(cls, value: str) -> str:
        if value != "local" and not value.startswith(("http://", "https://")):
            raise ValueError("must be local or an http(s) URL")
        if "@" in urlsplit(value).netloc:
            raise ValueError(
                "holds a user name or password, which everybody who sees a status would read; "
                "take it out"
            )
        return value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """A variable's text, separated by commas."""
        if isinstance(value, str):
            return [name.strip() for name in value.split(",") if name.strip()]
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not HOST_NAME.fullmatch(name):
                raise ValueError(
                    f"names {name[:100]!r}, which is no host name; give names such as "
                    "coordinator.example.com, without scheme, port and path"
                )
        return value

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, value: str) -> str:
        """Without an identity provider the service listens on loopback only (specification 5.4)."""
        if not is_loopback(value):
            raise ValueError(
                "is not a loopback address, and no identity provider is configured: the service "
                "would be open to everyone who reaches it. Listen on 127.0.0.1 and put an "
                "authenticating proxy in front"
            )
        return value

    @property
    def sqlite_path(self) -> str:
        """The state file; empty where state lives elsewhere."""
        kind, _, rest = self.store.partition(":")
        return rest if kind == "sqlite" else ""

    @property
    def duckdb_path(self) -> str:
        return self.warehouse.partition(":")[2]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file())


def settings_file() -> Path:
    """The settings file; the default one need not be there. Raises ``Unusable``."""
    named = os.environ.get(FILE_VARIABLE)
    if named and not Path(named).is_file():
        raise Unusable(f"{FILE_VARIABLE} names {named}, which does not exist")
    return Path(named or DEFAULT_FILE)


def is_store(name: str) -> bool:
    """Whether a name is one of a store: ``sqlite:PATH`` or ``firestore:PROJECT[/DATABASE]``."""
    kind, _, rest = name.partition(":")
    return kind in ("sqlite", "firestore") and bool(rest.strip("/"))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
