"""The plots of the page: SVG files that only change where a number does."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from benchmarks.page import Line

TITLES = {
    "ratios": "Throughput beside a no-op in the same run",
    "aims": "How many times better than the aim",
}
BEFORE, NOW, AIM = "#b0b7c3", "#2563a8", "#c2410c"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "benchmarks",  # the same ids each time
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
BAR = 0.36


def draw(lines: Sequence[Line], folder: Path) -> list[Path]:
    """Write the plots that the rows allow; gives their files."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figures = {"aims": _aims(lines), "ratios": _ratios(lines)}
        files = []
        for name, figure in figures.items():
            if figure is None:
                continue
            file = folder / f"{name}.svg"
            figure.savefig(file, metadata={"Date": None, "Creator": None}, facecolor="white")
            files.append(file)
    return files


def _rows(names: Sequence[str], title: str) -> tuple[Figure, Axes]:
    """An empty plot with a line for each name, the first on top."""
    figure = Figure(figsize=(7.5, 1.3 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _once(axes: Axes, label: str) -> str | None:
    """The label where nothing has it yet: the legend names each thing once."""
    return None if label in axes.get_legend_handles_labels()[1] else label


def _aims(lines: Sequence[Line]) -> Figure | None:
    """A point for each row, with where it was before; those that are at their aim are left out."""
    shown = [
        (line, line.aim, now)
        for line in lines
        if line.aim is not None
        and (now := line.aim.share(line.row, line.before)) is not None
        and now != 1
        and isfinite(now)
    ]
    if not shown:
        return None
    figure, axes = _rows([line.what for line, _, _ in shown], TITLES["aims"])
    for place, (line, aim, now) in enumerate(shown):
        before = aim.share(line.before, line.before) if line.before else None
        if before is not None:
            axes.plot([before, now], [place, place], color=BEFORE, linewidth=1.5, zorder=1)
            axes.scatter([before], [place], color=BEFORE, s=36, label=_once(axes, "before"))
        axes.scatter([now], [place], color=NOW, s=36, label=_once(axes, "now"), zorder=2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color=AIM, linewidth=1.2, label="aim", zorder=0)
    axes.set_xlabel("better →")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _ratios(lines: Sequence[Line]) -> Figure | None:
    shown = [
        line
        for line in lines
        if line.row["ratio"] is not None and str(line.row["unit"]).endswith("/s")
    ]
    if not shown:
        return None
    figure, axes = _rows([line.what for line in shown], TITLES["ratios"])
    for place, line in enumerate(shown):
        if line.before is not None and line.before["ratio"] is not None:
            top, label = place - BAR / 2, _once(axes, "before")
            axes.barh([top], [line.before["ratio"]], BAR, color=BEFORE, label=label)
        middle, label = place + BAR / 2, _once(axes, "now, with the range of the rounds")
        axes.barh([middle], [line.row["ratio"]], BAR, color=NOW, label=label)
        if line.row["ratios"]:
            axes.plot(line.row["ratios"], [middle, middle], color="black", linewidth=0.9)
        if line.aim is not None and line.aim.of == "ratio":
            bound, ends = line.aim.bound, [place - 0.42, place + 0.42]
            axes.plot([bound, bound], ends, color=AIM, linewidth=1.8, label=_once(axes, "aim"))
    axes.set_xlim(left=0)
    axes.set_xlabel("events a second, the no-op's requests a second = 1")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
