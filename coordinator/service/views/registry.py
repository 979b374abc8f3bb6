"""The registry in use, and its graph."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from coordinator.service.views.base import View


class RegistryView(View):
    """The registry in use, normalised."""

    model_config = ConfigDict(extra="allow")

    registry_hash: str = Field(description="SHA-256 of its meaning.")
    tables: Any = Field(description="Declared tables, with the outputs of processors.")
    processors: Any = Field(description="Processors with their requirements and policies.")


class GraphView(View):
    """The dependencies as nodes and edges."""

    model_config = ConfigDict(extra="allow")

    registry_hash: str = Field(description="The registry they come from.")
    nodes: list[dict[str, Any]] = Field(description="Tables and processors.")
    edges: list[dict[str, Any]] = Field(description="Who needs what, and who writes what.")
