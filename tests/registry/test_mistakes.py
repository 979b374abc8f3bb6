"""Every kind of mistake is refused, at its line and column, with the rule and the fix."""

from pathlib import Path

import pytest

from coordinator.errors import BadInput
from coordinator.registry import (
    MAX_BYTES,
    MAX_GROUP,
    MAX_MISTAKES,
    RegistryError,
    RegistryMistake,
    load,
    needs,
    parse,
)
from tests.registry.examples import SMALL, changed

HERE = "«"
"""Marks the place in a case's text that the mistake has to name; it is removed."""


def mistakes_of(text: str) -> tuple[RegistryMistake, ...]:
    with pytest.raises(RegistryError) as caught:
        parse(text)
    return tuple(m for m in caught.value.mistakes if isinstance(m, RegistryMistake))


def place_in(text: str) -> tuple[int, int]:
    before = text[: text.index(HERE)]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def assert_refused(text: str, field: str, *sentences: str) -> None:
    """Exactly one mistake, of this field, at the mark, with these parts of a sentence."""
    found = mistakes_of(text.replace(HERE, ""))
    assert [m.field for m in found] == [field], [str(m) for m in found]
    assert (found[0].line, found[0].column) == place_in(text), str(found[0])
    for sentence in sentences:
        assert sentence in found[0].message, str(found[0])


PLAYERS = "    grace: 15m\n"
"""Where a key of the processor Players is put."""
BOX = "      - table: raw.box\n"

UNKNOWN = [
    ("version: 1\n", "version: 1\n«tabels: {}\n", "tabels", "'tabels'; did you mean 'tables'?"),
    ("known_from: 2024", "«know_from: 2024", "calendar.know_from", "did you mean 'known_from'?"),
    ("  cooldown: 2h", "  «coldown: 2h", "defaults.coldown", "did you mean 'cooldown'?"),
    ("    grain: game", "    «grian: game", "tables.raw.box.grian", "did you mean 'grain'?"),
    (PLAYERS, "    «gracee: 15m\n", "processors.Players.gracee", "did you mean 'grace'?"),
    (BOX, "      - «tabel: raw.box\n", "processors.Players.requires[0].tabel", "'table'?"),
    ("{offset: -1}", "{«ofset: -1}", "processors.Teams.requires[0].dates.ofset", "'offset'?"),
    (
        PLAYERS,
        '    deadline: {at: "10:00", «than: fire}\n',
        "processors.Players.deadline.than",
        "did you mean 'then'?",
    ),
    (
        PLAYERS,
        "    launch: {«htp: 'http://a.example/'}\n",
        "processors.Players.launch.htp",
        "did you mean 'http'?",
    ),
    (PLAYERS, "    «entirely_else: 1\n", "processors.Players.entirely_else", "choose from"),
]


@pytest.mark.parametrize(("old", "new", "field", "sentence"), UNKNOWN)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(
    old: str, new: str, field: str, sentence: str
) -> None:
    assert_refused(changed(old, new), field, "unknown key", sentence)


VALUES = [
    # wrong types
    ("version: 1\n", "version: «2\n", "version", "must be 1"),
    ("version: 1\n", "version: «true\n", "version", "must be 1"),
    ("timezone: America/New_York", "timezone: «America/NewYork", "timezone", "'America/New_York'?"),
    ("timezone: America/New_York", "timezone: «Q!", "timezone", "unknown time zone"),
    ("timezone: America/New_York", "timezone: «America", "timezone", "unknown time zone"),
    ("timezone: America/New_York", "timezone: «5", "timezone", 'put it in quotes: "5"'),
    ("{table: raw.games, known_from: 2024-10-22}", "«raw.games", "calendar", "must be a mapping"),
    ("2024-10-22", "«20241022", "calendar.known_from", "YYYY-MM-DD"),
    ("2024-10-22", "«2024-02-30", "calendar.known_from", "is not a date"),
    ("2024-10-22", "«TODAY", "calendar.known_from", "is not a date"),
    ("table: raw.games", "table: «games", "calendar.table", "dataset.table"),
    ("    grain: game", "    grain: «games", "tables.raw.box.grain", "game or date"),
    (
        "enabled: false",
        "enabled: «off",
        "tables.raw.plays.enabled",
        "true or false, not text (off)",
    ),
    ("enabled: false", "enabled: «no", "tables.raw.plays.enabled", "true or false, not text (no)"),
    ("aliases: [BoxLoader]", "aliases: «BoxLoader", "tables.raw.box.aliases", "must be a list"),
    ("[BoxLoader]", "[«12]", "tables.raw.box.aliases[0]", 'put it in quotes: "12"'),
    ("[BoxLoader]", "[«' x']", "tables.raw.box.aliases[0]", "1 to 200 visible characters"),
    ("[BoxLoader]", "[«'']", "tables.raw.box.aliases[0]", "1 to 200 visible characters"),
    ("  raw.odds:\n", "  «odds:\n  raw.odds:\n", "tables.odds", "dataset.table"),
    ("  raw.odds:\n", "  «raw.od__ds:\n  raw.odds:\n", "tables.raw.od__ds", "without __"),
    (
        "output: out.teams",
        "output: «out.teams__2025-11-15",
        "processors.Teams.output",
        "without __",
    ),
    ("  raw.odds:\n", "  raw.odds: «7\n", "tables.raw.odds", "must be a mapping"),
    ("  Teams:\n", "  «Te__ams:\n", "processors.Te__ams", "without __"),
    ("  Teams:\n", "  «Te:ams:\n", "processors.Te:ams", "is not a valid processor name"),
    ("  Teams:\n", "  «9Teams:\n", "processors.9Teams", "starting with a letter"),
    ("output: out.teams", "output: «teams", "processors.Teams.output", "dataset.table"),
    (BOX, "      - «raw.box\n", "processors.Players.requires[0]", "must be a mapping"),
]

POLICIES = [
    ("grace: «15", "grace", "30s, 15m, 1h, 2d"),
    ("grace: «1.5h", "grace", "is not a duration"),
    ("grace: «-5m", "grace", "is not a duration"),
    ("grace: «15 m", "grace", "is not a duration"),
    ("grace: «31d", "grace", "longer than the most, 30d"),
    ("run_timeout: «0s", "run_timeout", "leaves no time at all"),
    ("heartbeat_timeout: «0s", "heartbeat_timeout", "leaves no time at all"),
    ("claim_timeout: «0m", "claim_timeout", "leaves no time at all"),
    ("max_refires: «-1", "max_refires", "outside 0 to 1,000"),
    ("max_refires: «1001", "max_refires", "outside 0 to 1,000"),
    ("max_refires: «1.5", "max_refires", "must be a whole number"),
    ("max_refires: «true", "max_refires", "must be a whole number"),
    ("attempts: «0", "attempts", "outside 1 to 20"),
    ("attempts: «21", "attempts", "outside 1 to 20"),
    ("attempts: «99999999999999999999999", "attempts", "must be a whole number"),
    ("off_day: «off", "off_day", "skip or run, not text (off)"),
    ('not_before: «"09:00"', "not_before", "must be a mapping"),
    ("«not_before: {day: 1}", "not_before", "needs 'at'"),
    ('not_before: {at: «"24:00"}', "not_before.at", "00:00 to 23:59:59"),
    ("not_before: {at: «9:00}", "not_before.at", '"HH:MM"'),
    ("not_before: {at: 09:00, day: «-31}", "not_before.day", "outside -30 to 366"),
    ("deadline: {at: 10:00, then: «stop}", "deadline.then", "alert or fire or skip"),
    ("deadline: «[]", "deadline", "must be a mapping"),
    ("schedule: «{at: 10:00}", "schedule", "must be a list of times"),
    ("schedule: [{at: 10:00}, «7]", "schedule[1]", "must be a mapping"),
    ("schedule: [{at: 10:00, when: «never}]", "schedule[0].when", "ready or always"),
    ("schedule: [«{day: 1}]", "schedule[0]", "needs 'at'"),
]

OTHER_KEYS = [
    ("entrypoint: «players", "entrypoint", '"package.module:Name"'),
    ("entrypoint: «7", "entrypoint", "put it in quotes"),
    ("launch: «here", "launch", "must be a mapping"),
    ("launch: «{}", "launch", "exactly one of local, http and pubsub, not none"),
    ("launch: «{local: true, pubsub: topic}", "launch", "not local and pubsub"),
    ("launch: {local: «false}", "launch.local", "must be true"),
    ("launch: {local: «yes}", "launch.local", "true or false, not text (yes)"),
    ("launch: {http: «ftp://a.example/x}", "launch.http", "is not an http or https URL"),
    ("launch: {http: «'http:///x'}", "launch.http", "a host"),
    ("launch: {http: «'http://a b/'}", "launch.http", "with spaces"),
    ("launch: {http: «'http://[a/'}", "launch.http", "is not a valid URL"),
    ("launch: {http: «'http://a.example:99999/'}", "launch.http", "is not a valid URL"),
    ("launch: {http: «'https://me:secret@a.example/'}", "launch.http", "user name or password"),
    ("launch: {pubsub: «x}", "launch.pubsub", "is not a valid topic"),
    ("launch: {pubsub: «google-x}", "launch.pubsub", "not starting with goog"),
    ("launch: {pubsub: «3}", "launch.pubsub", "put it in quotes"),
]

LINES = [
    ("«{critical: true}", "", "exactly one of table, any_of, or at_least with of; it has none"),
    ("«{table: raw.box, any_of: [raw.odds]}", "", "it has table and any_of"),
    ("{«of: [raw.box]}", ".of", "without 'at_least'"),
    ("{«at_least: 1}", ".at_least", "without 'of'"),
    ("{at_least: «3, of: [raw.box, raw.odds]}", ".at_least", "outside 1 to 2"),
    ("{at_least: «0, of: [raw.box, raw.odds]}", ".at_least", "outside 1 to 2"),
    ("{any_of: «raw.box}", ".any_of", "must be a list of tables"),
    ("{any_of: «[]}", ".any_of", "is empty"),
    ("{any_of: [raw.box, «raw.box]}", ".any_of[1]", "is given twice in the group"),
    (f"{{any_of: «[{', '.join(['raw.box'] * (MAX_GROUP + 1))}]}}", ".any_of", "the most is 20"),
    ("{table: «raw.boxes}", ".table", "unknown table 'raw.boxes'; did you mean 'raw.box'?"),
    ("{table: «BoxLoader}", ".table", "requirements use the full name: raw.box"),
    ("{table: «box}", ".table", "requirements use the full name: raw.box"),
    ("{table: «Teams}", ".table", "requirements use the full name: out.teams"),
    ("{table: «7}", ".table", "must be a table's name"),
    ("{any_of: [raw.box, «raw.zzz]}", ".any_of[1]", "declared under tables"),
    ("{table: raw.box, critical: «maybe}", ".critical", "true or false"),
    ("{table: raw.box, expected_count_min: «0}", ".expected_count_min", "outside 1"),
    ("{table: raw.box, expected_count_min: «-4}", ".expected_count_min", "outside 1"),
    ("{table: raw.box, expected_count_min: «2.5}", ".expected_count_min", "whole number"),
    ("{table: raw.box, expected_count_per_game: «0}", ".expected_count_per_game", "more than 0"),
    ("{table: raw.box, expected_count_per_game: «.inf}", ".expected_count_per_game", "at most"),
    ("{table: raw.box, expected_count_per_game: «many}", ".expected_count_per_game", "a number"),
    ("{table: raw.box, min_coverage: «0}", ".min_coverage", "more than 0 and at most 1"),
    ("{table: raw.box, min_coverage: «1.01}", ".min_coverage", "more than 0 and at most 1"),
    ("{table: raw.box, min_coverage: «.nan}", ".min_coverage", "more than 0 and at most 1"),
    ("{table: raw.box, max_age_hours_warn: «-1}", ".max_age_hours_warn", "more than 0"),
    ("{table: raw.box, max_age_hours_fail: «1e9}", ".max_age_hours_fail", "at most 8,784"),
    (
        "{table: raw.box, max_age_hours_warn: «24, max_age_hours_fail: 24}",
        ".max_age_hours_warn",
        "must be less than max_age_hours_fail (24)",
    ),
    ("{table: raw.box, «prefer_for: 5m}", ".prefer_for", "only an any_of group"),
    ("{any_of: [raw.box, raw.odds], prefer_for: «5}", ".prefer_for", "is not a duration"),
    ("{table: raw.box, dates: «-1}", ".dates", "must be a mapping"),
    ("{table: raw.box, dates: «{}}", ".dates", "exactly one of offset"),
    (
        "{table: raw.box, dates: «{window_days: 3, offset: 0}}",
        ".dates",
        "A window never includes its own date",
    ),
    ("{table: raw.box, dates: {offset: «-367}}", ".dates.offset", "outside -366 to 366"),
    ("{table: raw.box, dates: {offset: -1, «min_ready: 1}}", ".dates.min_ready", "a window"),
    ("{table: raw.box, dates: {last_game_dates: «0}}", ".dates.last_game_dates", "its own date"),
    ("{table: raw.box, dates: {window_days: «0}}", ".dates.window_days", "its own date"),
    ("{table: raw.box, dates: {window_days: «367}}", ".dates.window_days", "outside 1 to 366"),
    ("{table: raw.box, dates: {window_days: «x}}", ".dates.window_days", "whole number"),
    (
        "{table: raw.box, dates: {window_days: 3, min_ready: «0}}",
        ".dates.min_ready",
        "more than 0 and at most 1",
    ),
    (
        "{any_of: [raw.box, raw.odds], dates: {«window_days: 3}}",
        ".dates.window_days",
        "this line is an any_of group",
    ),
    (
        "{at_least: 1, of: [raw.box, raw.odds], dates: {«last_game_dates: 3}}",
        ".dates.last_game_dates",
        "this line is an at_least group",
    ),
    # switched off
    ("«{table: raw.plays}", "", "critical and has no enabled table left (raw.plays disabled)"),
    ("«{any_of: [raw.plays]}", "", "critical and has no enabled table left"),
    (
        "«{at_least: 2, of: [raw.box, raw.plays]}",
        "",
        "needs 2 of its tables and has 1 enabled (raw.plays disabled)",
    ),
    # cycles
    ("«{table: out.players}", "", "a cycle on the same date: Players needs Players"),
    (
        "«{table: out.players, dates: {offset: 1}}",
        ".dates",
        "Players needs Players at +1d; offsets around a cycle must add up to less than 0",
    ),
    (
        "«{table: out.teams, dates: {offset: 1}}",
        ".dates",
        "Players needs Teams at +1d, Teams needs Players at -1d",
    ),
]


@pytest.mark.parametrize(("old", "new", "field", "sentence"), VALUES)
def test_a_wrong_value_is_refused_at_its_place(
    old: str, new: str, field: str, sentence: str
) -> None:
    assert_refused(changed(old, new), field, sentence)


@pytest.mark.parametrize(("line", "key", "sentence"), POLICIES)
@pytest.mark.parametrize("where", ["processors.Players", "defaults"])
def test_a_wrong_policy_is_refused_in_a_processor_and_in_the_defaults(
    where: str, line: str, key: str, sentence: str
) -> None:
    old, new = (
        (PLAYERS, f"    {line}\n") if where != "defaults" else ("  cooldown: 2h", f"  {line}")
    )
    assert_refused(changed(old, new), f"{where}.{key}", sentence)


@pytest.mark.parametrize(("line", "key", "sentence"), OTHER_KEYS)
def test_a_wrong_entry_point_or_launch_is_refused(line: str, key: str, sentence: str) -> None:
    assert_refused(changed(PLAYERS, f"    {line}\n"), f"processors.Players.{key}", sentence)


@pytest.mark.parametrize(("line", "key", "sentence"), [o for o in OTHER_KEYS if "launch" in o[0]])
def test_a_wrong_default_launch_is_refused(line: str, key: str, sentence: str) -> None:
    assert_refused(changed("  cooldown: 2h", f"  {line}"), f"defaults.{key}", sentence)


@pytest.mark.parametrize(
    "key", ["aliases", "phase", "output", "requires", "entrypoint", "active_from"]
)
def test_what_is_a_processors_own_is_no_default(key: str) -> None:
    text = changed("  cooldown: 2h", f"  «{key}: x")
    assert_refused(text, f"defaults.{key}", "unknown key")


@pytest.mark.parametrize(("line", "key", "sentence"), LINES)
def test_a_wrong_requirement_is_refused(line: str, key: str, sentence: str) -> None:
    text = changed(BOX, f"      - {line}\n")
    assert_refused(text, f"processors.Players.requires[0]{key}", sentence)


@pytest.mark.parametrize("key", ["phase", "output", "requires"])
def test_a_processor_without_a_key_that_it_needs_is_named_at_its_name(key: str) -> None:
    lines = {
        "phase": "    phase: 3\n    output: out.teams\n",
        "output": "    output: out.teams\n",
        "requires": SMALL[SMALL.index("    output: out.teams\n") :],
    }
    kept = {"phase": "    output: out.teams\n", "output": "", "requires": "    output: out.teams\n"}
    text = changed("  Teams:\n", "  «Teams:\n", changed(lines[key], kept[key]))
    assert_refused(text, "processors.Teams", f"needs '{key}'")


@pytest.mark.parametrize("key", ["version", "processors"])
def test_a_registry_without_a_key_that_it_needs_is_refused(key: str) -> None:
    text = "\n".join(
        line for line in ["«timezone: UTC", "version: 1", "processors: {}"] if key not in line
    )
    assert_refused(text, key, "is missing")


def test_an_alias_has_one_owner() -> None:
    text = changed("aliases: [player_rows]", "aliases: [player_rows, «BoxLoader]")
    assert_refused(
        text,
        "processors.Players.aliases[1]",
        "'BoxLoader' belongs to table raw.box already (line:column 8:15)",
    )


@pytest.mark.parametrize("alias", ["raw.odds", "out.teams", "Teams"])
def test_an_alias_may_not_be_the_name_of_another_table_or_processor(alias: str) -> None:
    found = mistakes_of(changed("[BoxLoader]", f"[{alias}]"))
    assert len(found) == 1
    assert "belongs to" in found[0].message
    assert f"'{alias}'" in found[0].message


def test_an_output_has_one_owner() -> None:
    text = changed("output: out.teams", "output: «out.players")
    text = changed("{table: out.players, dates: {offset: -1}}", "{table: raw.box}", text)
    found = mistakes_of(text.replace(HERE, ""))
    assert found[0].field == "processors.Teams.output"
    assert (found[0].line, found[0].column) == place_in(text)
    assert "'out.players' is written by Players already" in found[0].message


def test_the_calendar_is_no_output_and_is_not_switched_off() -> None:
    assert_refused(
        changed("output: out.teams", "output: «raw.games"), "processors.Teams.output", "calendar"
    )
    text = changed("table: raw.games", "table: «raw.plays")
    assert_refused(text, "calendar.table", "raw.plays is disabled under tables")
    assert_refused(
        changed("{table: raw.games, k", "{k").replace("calendar", "«calendar", 1),
        "calendar",
        "needs 'table'",
    )


def test_a_processor_that_nothing_could_start_is_refused() -> None:
    requires = "      - table: raw.box\n      - {any_of: [raw.odds, raw.plays], critical: false}\n"
    where = "processors.Players.requires"
    empty = changed("    requires:\n" + requires, "    requires: «[]\n")
    assert_refused(empty, where, "is empty")
    off = changed(requires, "      «- {table: raw.plays, critical: false}\n")
    assert_refused(off, where, "names only disabled tables")
    window = "      «- {table: raw.box, critical: false, dates: {window_days: 3}}\n"
    assert_refused(changed(requires, window), where, "optional windows alone")


def cycle_text(*lines: str) -> str:
    start = "version: 1\ntables: {r.x: }\nprocessors:\n"
    return start + "".join(
        f"  {name}: {{phase: 1, output: o.{name.lower()}, requires: [{needs}]}}\n"
        for name, needs in (line.split(": ", 1) for line in lines)
    )


def test_a_cycle_on_the_same_date_is_named_at_the_line_that_closes_it() -> None:
    text = cycle_text(
        "A: {table: o.b}", "B: {table: o.c}", "C: {table: r.x}, «{any_of: [r.x, o.a]}"
    )
    assert_refused(text, "processors.C.requires[1]", "C needs A needs B needs C")


def test_each_of_two_cycles_is_named() -> None:
    text = cycle_text("A: {table: o.b}", "B: {table: o.a}", "C: {table: o.d}", "D: {table: o.c}")
    found = [m.message for m in mistakes_of(text)]
    assert len(found) == 2
    assert "B needs A needs B" in found[0]
    assert "D needs C needs D" in found[1]


def test_a_window_and_a_look_ahead_that_wait_for_each_other_are_refused() -> None:
    text = cycle_text(
        "A: {table: o.b, dates: {last_game_dates: 3}}, {table: r.x}",
        "B: «{table: o.a, dates: {offset: 1}}",
    )
    assert_refused(text, "processors.B.requires[0].dates", "never ends in an earlier date")


def test_a_cycle_that_ends_in_earlier_dates_is_none() -> None:
    parse(cycle_text("A: {table: o.b}", "B: {table: o.a, dates: {offset: -1}}, {table: r.x}"))
    parse(cycle_text("A: {table: o.a, dates: {window_days: 3}}, {table: r.x}"))
    parse(cycle_text("A: {table: o.b, dates: {offset: 1}}", "B: {table: o.a, dates: {offset: -2}}"))


@pytest.mark.parametrize(
    ("text", "line", "column", "sentence"),
    [
        ("", 1, 1, "is empty"),
        ("# only a comment\n", 1, 1, "is empty"),
        ("[]", 1, 1, "must be a mapping"),
        ("version: 1\nversion: 1\n", 2, 1, "is given twice, first at 1:1"),
        ("a: [\n", 2, 1, "this is not valid YAML"),
        ("a: b: c\n", 1, 5, "this is not valid YAML"),
        ("a: 'x\n", 2, 1, "this is not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, 1, "a second document"),
        ("a: \x00", 1, 4, "control character"),
        ("a: 1\nb: \ud800", 2, 4, "unpaired surrogate"),
        ("? [a]\n: b\n", 1, 3, "a key must be plain text"),
        ("a: &x {b: 1}\n*x : c\n", 2, 1, "a key must be plain text"),
        ("a: !!python/object:x {}\n", 1, 4, "has no meaning here"),
        ("a: !!int 7\n", 1, 4, "has no meaning here"),
        ("a: *x\n", 1, 4, "no anchor &x"),
        ("a: &x [*x]\n", 1, 8, "no anchor &x ends before"),
        ("a: " + "[" * 21, 1, 23, "nested deeper than 20 levels"),
    ],
)
def test_a_text_that_is_no_yaml_document_is_refused_at_its_place(
    text: str, line: int, column: int, sentence: str
) -> None:
    found = mistakes_of(text)
    assert any((m.line, m.column) == (line, column) and sentence in m.message for m in found), [
        str(m) for m in found
    ]


def test_a_repeated_key_is_reported_beside_what_stops_the_reading() -> None:
    assert [(m.line, m.column) for m in mistakes_of("a: 1\na: 2\nb: ]\n")] == [(2, 1), (3, 4)]


def test_aliases_that_multiply_are_refused_before_they_cost_anything() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert "more than" in mistakes_of("\n".join(lines))[-1].message
    many = "a: &x 1\nb: [" + "*x, " * 101 + "]\n"
    assert "more than 100 aliases" in mistakes_of(many)[-1].message


def test_a_file_over_the_size_limit_is_refused(tmp_path: Path) -> None:
    assert "the most is 4,194,304" in mistakes_of("#" * (MAX_BYTES + 1))[0].message
    path = tmp_path / "big.yaml"
    path.write_bytes(b"# \xff" * MAX_BYTES)
    with pytest.raises(RegistryError, match="the most is"):
        load(path)


@pytest.mark.parametrize(
    ("text", "field", "sentence"),
    [
        (
            f"tables: {{{', '.join(f'r.t{i}: ' for i in range(5001))}}}",
            "tables",
            "the most is 5,000",
        ),
        (
            f"tables: {{r.x: {{aliases: [{', '.join(f'a{i}' for i in range(51))}]}}}}",
            "tables.r.x.aliases",
            "the most is 50",
        ),
    ],
)
def test_more_than_the_counted_limits_is_refused(text: str, field: str, sentence: str) -> None:
    found = mistakes_of(f"version: 1\nprocessors: {{}}\n{text}\n")
    assert [m.field for m in found] == [field]
    assert sentence in found[0].message


def test_more_processors_and_requirements_than_the_limits_are_refused() -> None:
    one = "  P%d: {phase: 1, output: o.p%d, requires: [{table: r.x}]}\n"
    many = "".join(one % (i, i) for i in range(2001))
    found = mistakes_of("version: 1\ntables: {r.x: }\nprocessors:\n" + many)
    assert "the most is 2,000" in found[0].message
    lines = ", ".join("{table: r.x}" for _ in range(51))
    found = mistakes_of(cycle_text(f"A: {lines}"))
    assert "the most is 50" in found[0].message


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    text = changed("cooldown: 2h", "cooldown: 2x")
    text = changed("[BoxLoader]", "[7]", text)
    text = changed(
        "    phase: 3\n    output: out.teams", "    phase: 0\n    output: out.teams", text
    )
    text = changed("{table: raw.odds}", "{table: raw.od, critical: 1}", text)
    found = mistakes_of(text)
    assert [m.field for m in found] == [
        "defaults.cooldown",
        "tables.raw.box.aliases[0]",
        "processors.Teams.phase",
        "processors.Teams.requires[1].table",
        "processors.Teams.requires[1].critical",
    ]
    assert [m.line for m in found] == sorted(m.line for m in found)


def test_the_error_reads_as_a_list_of_places_and_is_bounded() -> None:
    with pytest.raises(RegistryError) as caught:
        parse("version: 1\nprocessors: {}\ntabels: {}\n", "my/registry.yaml")
    assert isinstance(caught.value, BadInput)
    assert str(caught.value).splitlines() == [
        "my/registry.yaml has 1 mistake:",
        "my/registry.yaml:3:1: tabels: unknown key 'tabels'; did you mean 'tables'?",
    ]
    keys = "".join(f"unknown_{i}: 1\n" for i in range(MAX_MISTAKES + 5))
    with pytest.raises(RegistryError, match="and 5 more") as caught:
        parse(f"version: 1\nprocessors: {{}}\n{keys}")
    assert len(caught.value.mistakes) == MAX_MISTAKES


def test_a_file_that_cannot_be_read_is_reported_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"absent\.yaml:1:1: cannot be read: No such file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(RegistryError, match="cannot be read"):
        load(tmp_path)
    path = tmp_path / "latin.yaml"
    path.write_bytes("version: 1\n# caf\xe9\n".encode("latin-1"))
    with pytest.raises(RegistryError, match=r"latin\.yaml:2:6: the file is not UTF-8"):
        load(path)


def test_a_similar_name_is_looked_for_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a file whose tables were all renamed would take minutes."""
    asked: list[str] = []

    def did_you_mean(name: str, _: object) -> str:
        asked.append(name)
        return "did you mean 'x'?"

    monkeypatch.setattr(needs, "did_you_mean", did_you_mean)
    lines = "".join(
        f"  P{i}: {{phase: 1, output: o.p{i}, requires: [{{table: r.x{i}}}]}}\n" for i in range(30)
    )
    found = mistakes_of("version: 1\nprocessors:\n" + lines)
    assert [("did you mean" in m.message) for m in found] == [i < len(asked) for i in range(30)]
    assert 0 < len(asked) <= 10
    assert all("declared under tables" in m.message for m in found)
