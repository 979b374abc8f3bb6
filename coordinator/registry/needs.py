"""What each processor needs: the lines of ``requires`` as requirements.

Owns what a line means together with the tables it names, and the rules between its keys. Valid
lines that have no effect are warnings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from coordinator.core.arrivals import Grain
from coordinator.core.spec import Requirement, RequirementKind, Window
from coordinator.registry.cycles import DependencyEdge
from coordinator.registry.document import Loc
from coordinator.registry.mistakes import Mistakes, did_you_mean
from coordinator.registry.models import DatesEntry, ProcessorEntry, RequirementEntry
from coordinator.registry.names import Names

FORM_KEYS = {"table", "any_of", "at_least", "of"}
"""The keys of a line that name its tables."""
SUGGESTED_MAX = 10
"""Unknown tables for which a similar name is looked for: among thousands that takes long."""
MAX_GROUP_KEY = 400
"""Characters of a group's names in a requirement's key: a document's field names are bounded."""


class RequirementReader:
    """Reads the lines of every processor. ``edges`` and ``used`` are what it found on the way."""

    def __init__(
        self, names: Names, known_from: str | None, mistakes: Mistakes, warnings: Mistakes
    ) -> None:
        self._names = names
        self._tables = names.tables
        self._known_from = known_from
        self._mistakes = mistakes
        self._warnings = warnings
        self.edges: list[DependencyEdge] = []
        """Which processor needs the output of which, in the file's order."""
        self.used: set[str] = set()
        """Every table that a line names."""
        self._unknown = 0
        """How many lines named a table that there is not."""

    def read(
        self, processor: str, entry: ProcessorEntry
    ) -> tuple[tuple[Requirement, ...], tuple[str, ...]]:
        """A processor's requirements, and the disabled tables that its lines name."""
        loc: Loc = ("processors", processor, "requires")
        kept: list[Requirement] = []
        disabled: list[str] = []
        keys: dict[str, int] = {}
        for i, line in enumerate(entry.requires):
            requirement = self._requirement(processor, line, (*loc, i), disabled)
            if requirement is None:
                continue
            times = keys[requirement.key] = keys.get(requirement.key, 0) + 1
            if times > 1:
                requirement = replace(requirement, key=f"{requirement.key} #{times}")
            if requirement.sources:
                kept.append(requirement)
        self._check_that_something_starts_it(entry, kept, loc)
        return tuple(kept), tuple(dict.fromkeys(disabled))

    def _check_that_something_starts_it(
        self, entry: ProcessorEntry, kept: Sequence[Requirement], loc: Loc
    ) -> None:
        if self._mistakes.within(loc) or "requires" not in entry.model_fields_set:
            return
        if not kept:
            what = "names only disabled tables" if entry.requires else "is empty"
            self._mistakes.at(
                loc, f"{what}, so nothing could ever start it; name at least one enabled table"
            )
        elif all(r.window is not None and not r.critical for r in kept):
            self._mistakes.at(
                loc,
                "has optional windows alone, and arrivals in a window start nothing; make one "
                "critical, or name a table without it",
            )

    # ── one line ─────────────────────────────────────────────────────────────────────────────

    def _requirement(
        self, processor: str, line: RequirementEntry, loc: Loc, disabled: list[str]
    ) -> Requirement | None:
        """One line; without sources where all of an optional line's are disabled."""
        form = self._form(line, loc)
        if form is None:
            return None
        kind, named, needed = form
        offset, window = self._dates(line.dates, kind, (*loc, "dates")) if line.dates else (0, None)
        sources = tuple(t for t in named if self._tables[t].enabled)
        off = [t for t in named if not self._tables[t].enabled]
        disabled += off
        if line.critical and len(sources) < needed:
            enabled = f"needs {needed} of its tables and has {len(sources)} enabled"
            what = enabled if kind is RequirementKind.AT_LEAST else "has no enabled table left"
            self._mistakes.at(
                loc,
                f"is critical and {what} ({', '.join(off)} disabled), so it could never be met; "
                "enable a table, or make it critical: false",
            )
        elif sources and len(sources) < needed:
            self._warnings.at(
                loc, f"has no effect: it needs {needed} tables and has {len(sources)} enabled"
            )
            sources = ()
        self._check_keys(line, kind, loc)
        self._warn(line, sources, window, loc)
        self.used.update(named)
        self._add_edges(processor, sources, offset if window is None else -1, loc)
        warn, fail = line.max_age_hours_warn, line.max_age_hours_fail
        return Requirement(
            key=requirement_key(kind, named, needed, offset, window),
            kind=RequirementKind.WINDOW if window is not None else kind,
            sources=sources,
            critical=line.critical,
            needed=needed,
            offset=offset,
            window=window,
            prefer_for=line.prefer_for,
            expected_count_min=line.expected_count_min,
            expected_count_per_game=line.expected_count_per_game,
            min_coverage=line.min_coverage,
            max_age_warn=None if warn is None else timedelta(hours=warn),
            max_age_fail=None if fail is None else timedelta(hours=fail),
        )

    def _add_edges(self, processor: str, sources: Sequence[str], day: int, loc: Loc) -> None:
        for table in sources:
            producer = self._tables[table].producer
            if producer is not None:
                self.edges.append(DependencyEdge(processor, producer, day, loc, len(self.edges)))

    def _form(
        self, line: RequirementEntry, loc: Loc
    ) -> tuple[RequirementKind, tuple[str, ...], int] | None:
        """Which form the line has, the tables it names, and how many must be met."""
        forms = [k for k in ("table", "any_of", "at_least") if k in line.model_fields_set]
        has_of = "of" in line.model_fields_set
        if len(forms) != 1 or (forms == ["at_least"]) != has_of:
            wrong = self._mistakes.keys_within(loc)
            if not line.model_fields_set and self._mistakes.within(loc):
                return None  # it is not a mapping, or nothing in it is good
            if wrong <= RequirementEntry.model_fields.keys() - FORM_KEYS:
                self._note_form(forms, has_of, loc)
            return None
        if line.table is not None:
            table = self._known_table(line.table, (*loc, "table"))
            return None if table is None else (RequirementKind.TABLE, (table,), 1)
        if line.any_of is not None:
            group = self._group(line.any_of, (*loc, "any_of"))
            return None if group is None else (RequirementKind.ANY_OF, group, 1)
        assert line.of is not None
        assert line.at_least is not None
        group = self._group(line.of, (*loc, "of"))
        if group is not None and line.at_least > len(group):
            rule = f"{line.at_least} is outside 1 to {len(group)}, the number of tables in of"
            self._mistakes.at((*loc, "at_least"), rule)
            return None
        return None if group is None else (RequirementKind.AT_LEAST, group, line.at_least)

    def _note_form(self, forms: Sequence[str], has_of: bool, loc: Loc) -> None:
        if "at_least" in forms and len(forms) == 1:
            rule = "is given without 'of', the list of tables; add it"
            self._mistakes.at((*loc, "at_least"), rule, key=True)
        elif has_of and "at_least" not in forms:
            rule = "is given without 'at_least', how many of them are needed; add it"
            self._mistakes.at((*loc, "of"), rule, key=True)
        else:
            self._mistakes.at(
                loc,
                "names its tables by exactly one of table, any_of, or at_least with of; it has "
                f"{' and '.join(forms) or 'none'}; split or complete the line",
            )

    def _group(self, group: Sequence[str], loc: Loc) -> tuple[str, ...] | None:
        named: list[str] = []
        good = True
        for i, name in enumerate(group):
            table = self._known_table(name, (*loc, i))
            if table is None:
                good = False
            elif table in named:
                good = False
                self._mistakes.at((*loc, i), f"{table!r} is given twice in the group; keep one")
            else:
                named.append(table)
        return tuple(named) if good else None

    def _known_table(self, name: str, loc: Loc) -> str | None:
        if name in self._tables:
            return name
        near = self._names.means(name)
        if near:
            fix = f"requirements use the full name: {' or '.join(sorted(near))}"
        else:
            fix = "a new one has to be declared under tables"
            if self._unknown < SUGGESTED_MAX:
                fix = f"{did_you_mean(name, self._tables)}; {fix}"
            self._unknown += 1
        self._mistakes.at(loc, f"unknown table {name[:60]!r}; {fix}")
        return None

    def _dates(
        self, dates: DatesEntry, kind: RequirementKind, loc: Loc
    ) -> tuple[int, Window | None]:
        """The offset in days, or the window, of a line."""
        given = dates.model_fields_set
        forms = [k for k in ("offset", "last_game_dates", "window_days") if k in given]
        if len(forms) != 1:
            if not self._mistakes.within(loc):
                self._mistakes.at(
                    loc,
                    "has to have exactly one of offset, last_game_dates and window_days; it has "
                    f"{' and '.join(forms) or 'none'}. A window never includes its own date",
                )
            return 0, None
        (form,) = forms
        if form == "offset":
            if "min_ready" in given:
                rule = "belongs to a window; an offset names one date, so remove it"
                self._mistakes.at((*loc, "min_ready"), rule, key=True)
            return dates.offset or 0, None
        if kind is not RequirementKind.TABLE:
            group = "an any_of" if kind is RequirementKind.ANY_OF else "an at_least"
            self._mistakes.at(
                (*loc, form),
                f"a window covers one table, and this line is {group} group; give each table its "
                "own line, or remove the window",
                key=True,
            )
        return 0, Window(
            game_dates=dates.last_game_dates, days=dates.window_days, min_ready=dates.min_ready
        )

    def _check_keys(self, line: RequirementEntry, kind: RequirementKind, loc: Loc) -> None:
        if "prefer_for" in line.model_fields_set and kind is not RequirementKind.ANY_OF:
            rule = "only an any_of group has an order of preference; remove it"
            self._mistakes.at((*loc, "prefer_for"), rule, key=True)
        warn, fail = line.max_age_hours_warn, line.max_age_hours_fail
        if warn is not None and fail is not None and warn >= fail:
            self._mistakes.at(
                (*loc, "max_age_hours_warn"),
                f"must be less than max_age_hours_fail ({fail:g}), else nobody would be warned "
                "before it fails",
            )

    def _warn(
        self, line: RequirementEntry, sources: Sequence[str], window: Window | None, loc: Loc
    ) -> None:
        """Note keys that are valid and do nothing."""
        given = line.model_fields_set
        by_game = any(self._tables[t].grain is Grain.GAME for t in sources)
        if "min_coverage" in given and sources and not by_game:
            rule = "has no effect: no table of this line has grain: game"
            self._warnings.at((*loc, "min_coverage"), rule, key=True)
        if window is None:
            return
        for key in ("max_age_hours_warn", "max_age_hours_fail"):
            if key in given:
                rule = "has no effect: the age of loads is not judged in a window"
                self._warnings.at((*loc, key), rule, key=True)
        if self._known_from is None:
            rule = "calendar.known_from is not set, so a season's first dates stay unmet"
            self._warnings.at((*loc, "dates"), rule, key=True)


def requirement_key(
    kind: RequirementKind,
    named: Sequence[str],
    needed: int,
    offset: int,
    window: Window | None,
) -> str:
    """The name of a requirement in documents and sentences: what it says, enabled or not.

    It does not change when a table is switched off, so what a run consumed stays comparable.
    """
    if kind is RequirementKind.TABLE:
        key = named[0]
    else:
        listed = ", ".join(named)
        if len(listed) > MAX_GROUP_KEY:
            mark = hashlib.sha256(listed.encode()).hexdigest()[:12]
            listed = f"{named[0]} and {len(named) - 1} more, {mark}"
        start = "any_of" if kind is RequirementKind.ANY_OF else f"at_least {needed} of "
        key = f"{start}({listed})"
    if window is not None and window.game_dates is not None:
        return f"{key} [last_game_dates {window.game_dates}]"
    if window is not None:
        return f"{key} [window_days {window.days}]"
    return f"{key} @{offset:+d}d" if offset else key
