"""The plots of the page: SVG files that only change where a number does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
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


def _bars(
    names: Sequence[str],
    before: Sequence[float | None],
    now: Sequence[float | None],
    title: str,
    *,
    log: bool = False,
) -> Figure:
    """Horizontal bars, before above now; None is no bar."""
    figure = Figure(figsize=(7.5, 0.9 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = range(len(names))
    shown = any(number is not None for number in before)
    if shown:
        axes.barh(
            [y - BAR / 2 for y in places],
            [n or 0 for n in before],
            BAR,
            color=BEFORE,
            label="before",
        )
    axes.barh(
        [y + (BAR / 2 if shown else 0) for y in places],
        [n or 0 for n in now],
        BAR,
        color=NOW,
        label="now",
    )
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=10)
    return figure


def _aims(lines: Sequence[Line]) -> Figure | None:
    shown = [
        (line, now)
        for line in lines
        if line.aim is not None and (now := line.aim.share(line.row, line.before)) is not None
    ]
    if not shown:
        return None
    before = [
        line.aim.share(line.before, line.before) if line.aim and line.before else None
        for line, _ in shown
    ]
    figure = _bars(
        [line.what for line, _ in shown],
        before,
        [now for _, now in shown],
        TITLES["aims"],
        log=True,
    )
    axes = figure.axes[0]
    axes.axvline(1, color=AIM, linewidth=1, label="aim")
    axes.legend(frameon=False, loc="best")
    return figure


def _ratios(lines: Sequence[Line]) -> Figure | None:
    shown = [
        line
        for line in lines
        if line.row["ratio"] is not None and str(line.row["unit"]).endswith("/s")
    ]
    if not shown:
        return None
    figure = _bars(
        [line.what for line in shown],
        [line.before["ratio"] if line.before else None for line in shown],
        [line.row["ratio"] for line in shown],
        TITLES["ratios"],
    )
    axes = figure.axes[0]
    named = False
    for place, line in enumerate(shown):
        if line.row["ratios"]:
            least, most = line.row["ratios"]
            axes.plot([least, most], [place + BAR / 2] * 2, color="black", linewidth=0.8)
        if line.aim is not None and line.aim.of == "ratio":
            ends = [place - 0.42, place + 0.42]
            label = None if named else "aim"
            axes.plot([line.aim.bound] * 2, ends, color=AIM, linewidth=1.5, label=label)
            named = True
    axes.set_xlim(0, max(1.0, *(line.row["ratio"] for line in shown)))
    axes.legend(frameon=False, loc="best")
    return figure
