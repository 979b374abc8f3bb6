"""The registry file, declared: every mapping that it may hold, each key with type and meaning.

Owns the keys, their order, types, defaults and descriptions. The reader and the reference page
(``reference``) come from here, so neither states a rule a second time.
What one key means for another (an unknown table, a cycle) is checked by ``names`` and ``needs``.

``Annotated[X | None, rule]`` is a key that may be left out; ``Annotated[X, rule] | None`` is one that
may also be empty (``null``), which unsets a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time, timedelta
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from coordinator.core.arrivals import Grain
from coordinator.core.spec import (
    ClockTime,
    Deadline,
    DeadlineAction,
    LaunchKind,
    LaunchTarget,
    OffDay,
    Policy,
    ScheduleEntry,
    ScheduleWhen,
)
from coordinator.registry.rules import (
    BOOLEAN,
    CLOCK,
    ONLY_TRUE,
    VERSION,
    Given,
    above_zero,
    alias,
    by_name,
    choice,
    duration,
    entry_point,
    iso_date,
    list_of,
    processor_name,
    table_name,
    text,
    time_zone,
    topic,
    url,
    whole,
)

MAX_TABLES: Final = 5000
MAX_PROCESSORS: Final = 2000
MAX_REQUIREMENTS: Final = 50
MAX_GROUP: Final = 20
MAX_ALIASES_PER_NAME: Final = 50
MAX_SCHEDULE: Final = 50
MAX_WINDOW: Final = 366
"""Dates, for a window, and days, for an offset."""
MAX_AGE_HOURS: Final = 24 * 366
DEFAULT_TIMEZONE: Final = "America/New_York"


_A_TABLE = "a table's name, dataset.table"
TableName = Annotated[str, text(_A_TABLE, "table name", table_name)]
KnownTable = Annotated[str, text(_A_TABLE, "table name")]
ProcessorName = Annotated[str, text("a processor's name", "processor name", processor_name)]
Alias = Annotated[str, text("a name", "name", alias)]
Aliases = Annotated[list[Alias], list_of("aliases", MAX_ALIASES_PER_NAME)]
Group = Annotated[
    list[KnownTable] | None,
    list_of("tables", MAX_GROUP, empty="is empty; name the tables of the group"),
]
Day = Annotated[int, whole(-30, 366)]
WindowSize = Annotated[
    int | None,
    whole(
        1,
        MAX_WINDOW,
        at_zero="a window of 0 would be its own date; a window covers dates before it, so write 1 "
        "or more, or leave dates out",
    ),
]
Hours = Annotated[float | None, above_zero(MAX_AGE_HOURS, "hours")]
Share = Annotated[float, above_zero(1, "above 0, to 1")]
Boolean = Annotated[bool, BOOLEAN]
Timeout = Annotated[timedelta, duration(1, "duration, from `1s`")] | None


class Entry(BaseModel):
    """A mapping of the file: these keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CalendarEntry(Entry):
    """Which table says what games are expected."""

    table: TableName = Field(
        title="whose loads carry the game_ids",
        description="Its loads carry the `game_ids` that are expected on a date. It can be neither "
        "disabled nor an output.",
    )
    known_from: Annotated[str | None, text("a date, YYYY-MM-DD", "date", iso_date)] = Field(
        None,
        description="History windows ignore earlier dates. Set it to the first date of the season: a "
        "window that is still empty is then met, with a warning; without it, an empty window "
        "is unmet.",
    )


class TableEntry(Entry):
    """A raw table, or further names of an output."""

    aliases: Aliases = Field(
        [],
        description="Other names that events use for it. The name without its data set needs no alias if "
        "only one table has it; names and aliases take precedence. The names of a processor "
        "refer to its output.",
    )
    grain: Annotated[Grain, choice(Grain.GAME, Grain.DATE)] = Field(
        Grain.DATE,
        description="`game`: a load may cover some games, and coverage is the union. `date`: a load "
        "replaces the previous one.",
    )
    enabled: Boolean = Field(
        True,
        description="`false`: never waited for, and its events are ignored and counted. A requirement "
        "continues with its other tables; an optional one without any is dropped; a critical "
        "one is a mistake.",
    )


class ClockEntry(Entry):
    """A time on the registry's clock."""

    at: Annotated[time, CLOCK] = Field(
        title='a time such as "09:00"', description="The time of day."
    )
    day: Day = Field(0, description="Days after the game date.")

    def clock(self) -> ClockTime:
        """As the specs hold it."""
        at = self.at
        return ClockTime(hour=at.hour, minute=at.minute, second=at.second, day=self.day)


class DeadlineEntry(ClockEntry):
    """What happens when time is up."""

    then: Annotated[DeadlineAction, choice(*DeadlineAction)] = Field(
        DeadlineAction.ALERT,
        description="`alert` sends a notice, `fire` launches with the data that is there, `skip` gives "
        "the date up.",
    )


class ScheduledTimeEntry(ClockEntry):
    """An instant to fire at as well."""

    when: Annotated[ScheduleWhen, choice(*ScheduleWhen)] = Field(
        ScheduleWhen.READY,
        description="`ready` does nothing if there is nothing newer than the last success; `always` fires "
        "once per instant.",
    )


class LaunchEntry(Entry):
    """Where launches go: exactly one of the keys."""

    local: Annotated[bool | None, ONLY_TRUE] = Field(
        None, description="Run in the service's own runner."
    )
    http: Annotated[str | None, text("a URL", "URL", url)] = Field(
        None,
        description="POST to this `http://` or `https://` address; no user name or password in it.",
    )
    pubsub: Annotated[str | None, text("a topic", "topic", topic)] = Field(
        None,
        description="Publish to this topic: its id, or `projects/PROJECT/topics/ID`. There is no "
        "Pub/Sub launcher yet, so the service rejects it at startup.",
    )

    def target(self) -> LaunchTarget:
        """As the specs hold it."""
        if self.http is not None:
            return LaunchTarget(kind=LaunchKind.HTTP, address=self.http)
        if self.pubsub is not None:
            return LaunchTarget(kind=LaunchKind.PUBSUB, address=self.pubsub)
        return LaunchTarget(kind=LaunchKind.LOCAL)


class PolicyEntry(Entry):
    """When to fire, how often, and for how long to wait."""

    grace: Annotated[timedelta, duration()] | None = Field(
        None,
        description="Once the critical requirements are met, how long to wait for the optional "
        "ones. Ends early when all are met.",
    )
    debounce: Annotated[timedelta, duration()] | None = Field(
        None, description="Quiet time after the last applied arrival before firing."
    )
    max_settle: Annotated[timedelta, duration()] | None = Field(
        None, description="The longest time that debounce may hold a run after it was ready."
    )
    not_before: ClockEntry | None = Field(
        None, description="The earliest instant to fire: [`at` and `day`](#not-before)."
    )
    cooldown: Annotated[timedelta, duration()] | None = Field(
        None, description="After a success, how long before newer data fires the next generation."
    )
    max_refires: Annotated[int, whole(0, 1000)] | None = Field(
        None, description="Generations beyond the first without a person."
    )
    deadline: DeadlineEntry | None = Field(
        None,
        description="What happens at a given instant if nothing has succeeded: [`at`, `day`, "
        "`then`](#a-deadline).",
    )
    schedule: Annotated[list[ScheduledTimeEntry], list_of("times", MAX_SCHEDULE)] | None = Field(
        None,
        description="Further instants at which to fire: [`at`, `day`, `when`](#a-schedule-entry).",
    )
    run_timeout: Timeout = Field(None, description="The longest time that an attempt may run.")
    heartbeat_timeout: Timeout = Field(
        None, description="How long a runner may send no heartbeat before it loses its lease."
    )
    claim_timeout: Timeout = Field(
        None,
        description="How long a delivered launch may stay unclaimed before the next attempt.",
    )
    attempts: Annotated[int, whole(1, 20)] | None = Field(
        None, description="Launches of one generation before it fails."
    )
    retry_backoff: Annotated[timedelta, duration()] | None = Field(
        None, description="The time before the next attempt; it doubles with each attempt."
    )
    off_day: Annotated[OffDay, choice(*OffDay)] | None = Field(
        None, description="What to do on a date whose calendar has no games."
    )


class DefaultsEntry(PolicyEntry):
    """What holds for every processor that does not say otherwise."""

    launch: LaunchEntry | None = Field(
        None,
        json_schema_extra={"left_out": "that of `defaults`, else the deployment's"},
        description="Where [launches](#a-launch) go. `null` removes a default.",
    )

    def policy(self) -> dict[str, Any]:
        """The policy keys that are set, as arguments of ``Policy``; ``null`` is the built-in."""
        return {k: self._policy(k) for k in POLICY_KEYS if k in self.model_fields_set}

    def _policy(self, key: str) -> Any:
        value = getattr(self, key)
        if value is None:
            return getattr(_BUILT_IN, key)
        if isinstance(value, DeadlineEntry):
            return Deadline(at=value.clock(), then=value.then)
        if isinstance(value, ClockEntry):
            return value.clock()
        if isinstance(value, list):
            return tuple(ScheduleEntry(at=e.clock(), when=e.when) for e in value)
        return value


class DatesEntry(Entry):
    """Which dates a line is about: exactly one of the first three."""

    offset: Annotated[int | None, whole(-MAX_WINDOW, MAX_WINDOW)] = Field(
        None,
        json_schema_extra={"left_out": "`0`"},
        description="The date that many days later (negative: earlier). A new arrival there is newer "
        "data; an off day counts as met.",
    )
    last_game_dates: WindowSize = Field(
        None,
        description="A window: that many dates with games before the partition's own.",
    )
    window_days: WindowSize = Field(
        None,
        description="A window: the dates with games among that many days before the partition's own.",
    )
    min_ready: Share = Field(
        1.0, description="For windows: the share of those dates that must be ready."
    )


class RequirementEntry(Entry):
    """One line of a processor's needs."""

    table: Annotated[str | None, text(_A_TABLE, "table name")] = Field(
        None, description="One table."
    )
    any_of: Group = Field(None, description="One of these, in order of preference.")
    prefer_for: Annotated[timedelta, duration()] = Field(
        timedelta(0),
        description="For `any_of`: how long a less preferred table waits for a more preferred one.",
    )
    at_least: Annotated[int | None, whole(1, MAX_GROUP, "number")] = Field(
        None, description="How many tables of `of` are needed."
    )
    of: Group = Field(None, description="The tables that `at_least` counts.")
    critical: Boolean = Field(True, description="`false`: waited for (grace), but not needed.")
    expected_count_min: Annotated[int | None, whole(1, 1_000_000_000, "number from 1")] = Field(
        None, description="Rows needed in all."
    )
    expected_count_per_game: Annotated[float | None, above_zero(1_000_000)] = Field(
        None,
        description="Rows needed per game that the calendar expects. Prefer it: a date has 1 to 15 "
        "games.",
    )
    min_coverage: Share = Field(
        1.0,
        description="For `grain: game`: the share of expected games that must be loaded.",
    )
    max_age_hours_warn: Hours = Field(
        None,
        description="A load this old when generation 1 would fire is `aging`: met, with a warning. "
        "Less than `max_age_hours_fail`.",
    )
    max_age_hours_fail: Hours = Field(
        None, description="A load this old is `stale`: unmet until it is loaded again."
    )
    dates: Annotated[DatesEntry | None, Given()] = Field(
        None,
        json_schema_extra={"left_out": "the same date"},
        description="Which [dates](#dates) it refers to.",
    )


class ProcessorEntry(DefaultsEntry):
    """A processor."""

    aliases: Aliases = Field([], description="Other names that messages use for it.")
    phase: Annotated[int, whole(1, 99)] = Field(
        title="a whole number from 1, such as 3",
        description="A label for people. It is never a barrier.",
    )
    output: TableName = Field(
        title="the table that it writes", description="The table that it writes."
    )
    requires: Annotated[list[RequirementEntry], list_of("requirements", MAX_REQUIREMENTS)] = Field(
        title="the list of what it waits for",
        description="Its [requirements](#a-requirement), at least one. With only optional ones it needs "
        "one arrival.",
    )
    entrypoint: Annotated[str | None, text("module:attribute", '`"module:Name"`', entry_point)] = (
        Field(None, description="What a runner executes.")
    )


class RegistryEntry(Entry):
    """The whole file."""

    version: Annotated[int, VERSION] = Field(
        title="version: 1", description="The version of this file format."
    )
    timezone: Annotated[str, text("the name of a time zone", "IANA name", time_zone)] = Field(
        DEFAULT_TIMEZONE, description="The time zone of every clock time in the file."
    )
    calendar: Annotated[CalendarEntry | None, Given()] = Field(
        None,
        description="The table whose loads say which games are expected. Without it, minimums per game "
        "and coverage cannot be evaluated, and no date is an off day.",
    )
    defaults: DefaultsEntry | None = Field(
        None,
        description="Any [policy key](#policies) and [`launch`](#a-launch); applies to every processor "
        "that does not set it.",
    )
    tables: Annotated[dict[TableName, TableEntry | None], by_name(MAX_TABLES)] = Field(
        {},
        description="The raw tables. The calendar's table and the processors' outputs need not be "
        "declared.",
    )
    processors: Annotated[dict[ProcessorName, ProcessorEntry], by_name(MAX_PROCESSORS)] = Field(
        title="processors:, with one entry each", description="The processors."
    )


_BUILT_IN = Policy()

POLICY_KEYS = tuple(PolicyEntry.model_fields)
"""The policy keys of a processor, in the order in which they are shown."""

SECTIONS: Mapping[str, type[Entry]] = {
    "registry": RegistryEntry,
    "calendar": CalendarEntry,
    "defaults": DefaultsEntry,
    "table": TableEntry,
    "processor": ProcessorEntry,
    "requirement": RequirementEntry,
    "dates": DatesEntry,
    "not_before": ClockEntry,
    "deadline": DeadlineEntry,
    "schedule": ScheduledTimeEntry,
    "launch": LaunchEntry,
}
KEYS: Mapping[str, tuple[str, ...]] = {s: tuple(m.model_fields) for s, m in SECTIONS.items()}
"""Every key that the file may hold, by the mapping it is in."""
