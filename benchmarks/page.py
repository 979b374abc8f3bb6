"""Results as a table for the terminal and as ``docs/benchmarks.md``.

Everything on the page comes from the results, except one section that is written by hand: what lies
between its two marks is kept when the page is written again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from benchmarks.aims import AIMS, Aim, factor

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by hand -->", "<!-- end of what is written by hand -->"
Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """A row with its aim and the same row of the time before."""

    row: Mapping[str, Any]
    before: Mapping[str, Any] | None
    aim: Aim | None

    @property
    def what(self) -> str:
        return str(self.row["what"])

    @property
    def more_is_better(self) -> bool:
        return not self.aim.at_most if self.aim else str(self.row["unit"]).endswith("/s")

    @property
    def reached(self) -> str:
        if self.aim is None:
            return ""
        found = self.aim.reached(self.row, self.before)
        return "not measured" if found is None else "yes" if found else "**no**"

    @property
    def better(self) -> str:
        """How many times better than before."""
        if self.before is None:
            return ""
        times = factor(self.row, self.before)
        if not times:
            return ""
        return f"{figure(times if self.more_is_better else 1 / times)} ×"


def lines(results: Results, before: Results | None) -> list[Line]:
    """Every measured row, in the order of the scripts."""
    earlier = {row["what"]: row for row in _rows(before)} if before else {}
    return [Line(row, earlier.get(row["what"]), AIMS.get(row["what"])) for row in _rows(results)]


def _rows(results: Results) -> Iterator[dict[str, Any]]:
    for script in results["scripts"].values():
        for row in script["rows"]:
            yield {"baseline": "", "ratio": None, "ratios": None, "detail": {}, **row}


def figure(number: float) -> str:
    """Three significant digits, without an exponent."""
    if number == 0 or abs(number) >= 100:
        return f"{number:,.0f}"
    digits = 1 if abs(number) >= 10 else 2 if abs(number) >= 1 else 3
    return f"{number:.{digits}f}" if number != int(number) else f"{number:.0f}"


def value(row: Mapping[str, Any] | None) -> str:
    return f"{figure(row['value'])} {row['unit']}".strip() if row else ""


def ratio(row: Mapping[str, Any] | None) -> str:
    return figure(row["ratio"]) if row and row["ratio"] is not None else ""


def ratio_range(row: Mapping[str, Any]) -> str:
    if not row["ratios"]:
        return ratio(row)
    least, most = (figure(number) for number in row["ratios"])
    return f"{ratio(row)} ({least} to {most})"


def baseline(row: Mapping[str, Any]) -> str:
    given = row["baseline"]
    if isinstance(given, int | float):
        return f"{figure(given)} {row['unit']}"
    return str(given or "")


def table(results: Results, before: Results | None) -> Table:
    """The rows that have an aim, for a terminal of 80 columns."""
    shown = _terminal("what", "aim", "value", "ratio", "baseline")
    for line in lines(results, before):
        if line.aim is not None:
            mark = {"yes": " ✓", "**no**": " ✗"}.get(line.reached, "")
            aim = line.aim.text + mark
            shown.add_row(line.what, aim, value(line.row), ratio(line.row), baseline(line.row))
    return shown


def comparison(results: Results, before: Results) -> Table:
    """Before → now of the rows that both have, for a terminal of 80 columns."""
    shown = _terminal("what", "before", "now", "better")
    for line in lines(results, before):
        if line.before is not None:
            of = ratio if line.aim is not None and line.aim.of != "value" else value
            shown.add_row(line.what, of(line.before), of(line.row), line.better)
    return shown


def _terminal(*headings: str) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), width=80)
    for number, heading in enumerate(headings):
        shown.add_column(heading, min_width=None if number else 26)
    return shown


def write(target: Path, results: Results, before: Results | None) -> None:
    """Write the page, and its plots into the folder of the same name."""
    from benchmarks import plots  # matplotlib takes a second that a table does not need

    measured = lines(results, before)
    images = plots.draw(measured, target.with_suffix(""))
    kept = by_hand(target)
    target.write_text("\n".join(_page(results, before, measured, images, kept)) + "\n")


def by_hand(target: Path) -> str:
    """The section that a person has written, as it is."""
    text = target.read_text() if target.exists() else ""
    if BEGIN in text and END in text:
        return text.partition(BEGIN)[2].partition(END)[0].strip("\n")
    return "Nobody has written about this run yet."


def _page(
    results: Results,
    before: Results | None,
    measured: Sequence[Line],
    images: Sequence[Path],
    kept: str,
) -> Iterator[str]:
    yield from (
        "# Benchmarks",
        "",
        "What the coordinator costs, measured by the scripts in `benchmarks/`. `make bench` writes this",
        "page: every number comes from one run on one machine. Ratios come first, because they depend",
        "least on the machine: each compares the coordinator with a baseline that was measured in turn",
        "with it, in the same run.",
        "",
    )
    if before:
        yield from (
            f"**Before** is commit `{before['commit'][:7]}`, measured on {before['date']} by the same",
            f"scripts{_same_machine(results, before)}. **Now** is commit `{_short(results['commit'])}`,",
            f"measured on {results['date']}.",
            "",
        )
    yield from _ratios(measured)
    yield from _images(images)
    yield from _numbers(measured)
    yield from _cpu(measured)
    yield from _profiles(results)
    yield from _skipped(results)
    yield from _not_reached(measured, kept)
    yield from _machine(results)
    yield from _reading()


def _short(commit: str) -> str:
    name, _, rest = commit.partition(" ")
    return f"{name[:7]} {rest}".strip()


def _same_machine(results: Results, before: Results) -> str:
    same = results["machine"] == before["machine"]
    return " on the same machine" if same else " on another machine or with other versions"


def _cells(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "| " + " | ".join("---" for _ in heads) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _ratios(measured: Sequence[Line]) -> Iterator[str]:
    shown = [line for line in measured if line.aim is not None and line.aim.of != "value"]
    if not shown:
        return
    yield from ("## Ratios", "")
    yield from _cells(
        ("what", "aim", "before", "now (rounds)", "better", "reached", "baseline"),
        (
            (
                line.what,
                line.aim.text if line.aim else "",
                ratio(line.before),
                ratio_range(line.row),
                line.better,
                line.reached,
                baseline(line.row),
            )
            for line in shown
        ),
    )


def _images(images: Sequence[Path]) -> Iterator[str]:
    from benchmarks.plots import TITLES

    for image in images:
        yield from (f"![{TITLES[image.stem]}]({image.parent.name}/{image.name})", "")


def _numbers(measured: Sequence[Line]) -> Iterator[str]:
    bounded = [line for line in measured if line.aim is not None and line.aim.of == "value"]
    if bounded:
        yield from ("## Absolute numbers", "")
        yield from _cells(
            ("what", "aim", "before", "now", "better", "reached"),
            (
                (
                    line.what,
                    line.aim.text if line.aim else "",
                    value(line.before),
                    value(line.row),
                    line.better,
                    line.reached,
                )
                for line in bounded
            ),
        )
    others = [line for line in measured if line not in bounded]
    if others:
        yield from ("## Further numbers", "")
        yield from _cells(
            ("what", "before", "now", "latency", "baseline", "ratio"),
            (
                (
                    line.what,
                    value(line.before),
                    value(line.row),
                    _latency(line.row["detail"]),
                    baseline(line.row),
                    ratio(line.row),
                )
                for line in others
            ),
        )


def _latency(detail: Mapping[str, Any]) -> str:
    known = [
        f"{name} {figure(detail[f'{name}_ms'])} ms"
        for name in ("p50", "p99")
        if f"{name}_ms" in detail
    ]
    return ", ".join(known)


def _cpu(measured: Sequence[Line]) -> Iterator[str]:
    shown = [line for line in measured if "server_cpu_ms" in line.row["detail"]]
    if not shown:
        return
    yield from ("## CPU time of a request", "")
    yield (
        "What the system counted for each process. It varies less than a rate on a busy machine. The"
    )
    yield "load generator is the bottleneck where it is busy nearly all the time; see its last columns."
    yield ""
    yield from _cells(
        (
            "what",
            "coordinator before",
            "coordinator now",
            "no-op",
            "load generator",
            "busy with the no-op",
            "busy with the coordinator",
        ),
        (
            (
                line.what,
                f"{figure(line.before['detail']['server_cpu_ms'])} ms" if line.before else "",
                f"{figure(d['server_cpu_ms'])} ms",
                f"{figure(d['noop_cpu_ms'])} ms",
                f"{figure(d['client_cpu_ms'])} ms",
                f"{d['client_busy_noop']:.0%}",
                f"{d['client_busy']:.0%}",
            )
            for line in shown
            for d in [line.row["detail"]]
        ),
    )


def _profiles(results: Results) -> Iterator[str]:
    profiles = results["scripts"].get("profile", {}).get("profiles")
    if not profiles:
        return
    yield from ("## Where the interpreter lock goes", "")
    yield "Sampled by py-spy while 32 senders (or one) push, in runs of their own. The stacks are kept in"
    yield "`benchmarks/profiles` of the checkout that measured."
    yield ""
    names = list(profiles)
    for heading, key in (
        ("thread", "threads"),
        ("package of the innermost frame", "packages"),
    ):
        found = sorted(
            {part for name in names for part in profiles[name][key]},
            key=lambda part: (-max(profiles[name][key].get(part, 0) for name in names), part),
        )
        yield from _cells(
            (heading, *names),
            (
                (
                    f"`{part}`",
                    *(
                        f"{profiles[name][key][part]:.0%}" if part in profiles[name][key] else ""
                        for name in names
                    ),
                )
                for part in found
            ),
        )
    held = ", ".join(f"{profiles[name]['held']:.0%} ({name})" for name in names)
    yield from (f"Some thread holds the lock for {held} of the time.", "")


def _skipped(results: Results) -> Iterator[str]:
    skipped = {n: s["skipped"] for n, s in results["scripts"].items() if s.get("skipped")}
    if not skipped:
        return
    yield from ("## Not measured in this run", "")
    for name, why in skipped.items():
        yield f"- {name}: {why}"
    yield ""


def _not_reached(measured: Sequence[Line], kept: str) -> Iterator[str]:
    yield from ("## What was not reached and what it would take", "")
    missed = [line for line in measured if line.reached == "**no**"]
    if missed:
        yield "By the numbers above:"
        yield ""
        for line in missed:
            assert line.aim is not None
            number = line.aim.number(line.row, line.before)
            yield f"- {line.what}: {figure(number or 0)} (aim: {line.aim.text})."
        yield ""
    elif any(line.reached == "yes" for line in measured):
        yield from ("By the numbers above, every aim that was measured is reached.", "")
    yield from (BEGIN, "", kept.strip("\n"), "", END, "")


def _machine(results: Results) -> Iterator[str]:
    yield from ("## The machine", "")
    yield from _cells(("", ""), results["machine"].items())
    yield (
        f"Commit `{results['commit']}`, {results['date']}. The load average was "
        f"{results['load_before']} when the run began"
    )
    seconds = sum(script.get("seconds", 0) for script in results["scripts"].values())
    yield f"and the run took {seconds} seconds{' (`--quick`: rough)' if results['quick'] else ''}."
    yield ""


def _reading() -> Iterator[str]:
    yield from (
        "## How to repeat it",
        "",
        "```sh",
        "make bench                                   # everything, and this page",
        "make bench QUICK=1                           # rough numbers in two minutes, no page",
        ".venv/bin/python -m benchmarks --of COMMIT --json FILE   # the code of another commit",
        ".venv/bin/python -m benchmarks --compare FILE            # beside those results",
        ".venv/bin/python benchmarks/ingest.py --profile          # profiles of ingest",
        "```",
        "",
        "`benchmarks/before.json` holds the results that this page calls *before*,",
        "`benchmarks/results.json` those of this page; `python -m benchmarks --from FILE` writes the page",
        "from such a file. `benchmarks/store.py`, `messages.py` and `windows.py` measure single parts.",
        "",
        "## How to read it",
        "",
        "- The **no-op** is a FastAPI endpoint with the body model of a push that validates the body and",
        "  answers 204, served by uvicorn as the coordinator is. It gets the same requests from the same",
        "  senders, round by round in changing order. A ratio of 1 would mean that a durable, decided",
        "  event costs no more than that.",
        "- A ratio is the median over the rounds; the range is that of single rounds. A wide range means a",
        "  busy machine: measure again.",
        "- An event counts once its 204 is there, after it is durable (SQLite, `synchronous=FULL`).",
        "- *Every event on another date* is a backfill, a replay or a season that is loaded.",
        "- *Each dependant of K* is the difference between an event with 200 dependent partitions and one",
        "  with 3, divided by 197, beside the time of a no-op request.",
        "- *Last event to launch* runs from sending the last needed event to the launch's arrival at an",
        "  HTTP endpoint. With 16 clients the service is saturated, so this is mostly waiting in line.",
        "- Firestore is counted at the wire of Google's emulator. Counts do not depend on the machine.",
    )
