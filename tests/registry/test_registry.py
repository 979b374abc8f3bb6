"""What a valid registry means: specs, names, the reverse index, the hash and the differences."""

import json
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from pathlib import Path

import pytest

from coordinator.core.arrivals import Grain
from coordinator.core.spec import (
    ClockTime,
    Deadline,
    DeadlineAction,
    LaunchKind,
    LaunchTarget,
    OffDay,
    Policy,
    ProcessorSpec,
    Requirement,
    RequirementKind,
    ScheduleEntry,
    ScheduleWhen,
    TableSpec,
    Window,
)
from coordinator.registry import POLICY_KEYS, Registry, diff, duration_text, load, parse
from tests.registry.examples import CONTRACT, SMALL, changed

ROOT = Path(__file__).resolve().parents[2]
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def only(text: str, processor: str = "Players") -> ProcessorSpec:
    return parse(text).processors[processor]


def with_line(line: str) -> Requirement:
    """The first requirement of Players, where ``line`` replaces it."""
    return only(changed("      - table: raw.box\n", f"      - {line}\n")).requirements[0]


# ── specs ────────────────────────────────────────────────────────────────────────────────────


def test_the_example_of_the_contract_means_what_it_says() -> None:
    registry = parse(CONTRACT)
    gamebook = "nba_raw.nbac_gamebook_player_stats"
    plays = ("nba_raw.bigdataball_play_by_play", "nba_raw.nbac_play_by_play")
    abc = ("nba_raw.a", "nba_raw.b", "nba_raw.c")
    team, player = "nba_analytics.team_offense_game_summary", "nba_analytics.player_game_summary"
    expected = ProcessorSpec(
        name="PlayerGameSummaryProcessor",
        phase=3,
        output=player,
        aliases=("player_game_summary",),
        requirements=(
            Requirement(
                key=gamebook,
                kind=RequirementKind.TABLE,
                sources=(gamebook,),
                expected_count_per_game=16,
                max_age_warn=12 * HOUR,
                max_age_fail=24 * HOUR,
            ),
            Requirement(
                key="any_of(nba_raw.bigdataball_play_by_play, nba_raw.nbac_play_by_play)",
                kind=RequirementKind.ANY_OF,
                sources=plays,
                critical=False,
                prefer_for=30 * MINUTE,
            ),
            Requirement(
                key="at_least 2 of (nba_raw.a, nba_raw.b, nba_raw.c)",
                kind=RequirementKind.AT_LEAST,
                sources=abc,
                needed=2,
            ),
            Requirement(key=team, kind=RequirementKind.TABLE, sources=(team,)),
            Requirement(
                key="nba_raw.nbac_schedule @-1d",
                kind=RequirementKind.TABLE,
                sources=("nba_raw.nbac_schedule",),
                critical=False,
                offset=-1,
            ),
            Requirement(
                key=f"{player} [last_game_dates 10]",
                kind=RequirementKind.WINDOW,
                sources=(player,),
                window=Window(game_dates=10, min_ready=0.8),
            ),
        ),
        policy=Policy(
            grace=15 * MINUTE,
            debounce=2 * MINUTE,
            max_settle=HOUR,
            not_before=ClockTime(hour=9, minute=0, day=0),
            cooldown=HOUR,
            max_refires=5,
            deadline=Deadline(at=ClockTime(hour=10, minute=0, day=1), then=DeadlineAction.ALERT),
            schedule=(ScheduleEntry(at=ClockTime(hour=11, minute=30), when=ScheduleWhen.READY),),
            run_timeout=30 * MINUTE,
            heartbeat_timeout=5 * MINUTE,
            claim_timeout=10 * MINUTE,
            attempts=3,
            retry_backoff=MINUTE,
            off_day=OffDay.SKIP,
        ),
        timezone="America/New_York",
        grains={
            gamebook: Grain.GAME,
            **dict.fromkeys((*plays, *abc, team, player, "nba_raw.nbac_schedule"), Grain.DATE),
        },
        producers={team: "TeamOffenseSummaryProcessor", player: "PlayerGameSummaryProcessor"},
        calendar_table="nba_raw.nbac_schedule",
        known_from="2024-10-22",
        entrypoint="processors.analytics:PlayerGameSummaryProcessor",
        launch=LaunchTarget(kind=LaunchKind.PUBSUB, address="nba-phase3-trigger"),
        registry_hash=registry.registry_hash,
    )
    assert registry.processors["PlayerGameSummaryProcessor"] == expected
    assert registry.warnings == ()
    assert registry.text == CONTRACT


def test_tables_are_the_declared_ones_the_calendar_and_the_outputs() -> None:
    registry = parse(SMALL)
    assert registry.tables == {
        "raw.box": TableSpec(name="raw.box", grain=Grain.GAME, aliases=("BoxLoader",)),
        "raw.odds": TableSpec(name="raw.odds"),
        "raw.plays": TableSpec(name="raw.plays", enabled=False),
        "raw.games": TableSpec(name="raw.games"),
        "out.players": TableSpec(name="out.players", producer="Players"),
        "out.teams": TableSpec(name="out.teams", producer="Teams"),
    }
    assert (registry.version, registry.timezone) == (1, "America/New_York")
    assert (registry.calendar_table, registry.known_from) == ("raw.games", "2024-10-22")


def test_an_output_may_be_declared_as_a_table_with_aliases_of_its_own() -> None:
    text = changed("  raw.odds:\n", "  raw.odds:\n  out.players: {aliases: [PlayerRows]}\n")
    registry = parse(text)
    assert registry.tables["out.players"].producer == "Players"
    assert registry.tables["out.players"].aliases == ("PlayerRows",)
    assert registry.processor_for("PlayerRows") is registry.processors["Players"]


def test_what_is_left_out_has_the_documented_default() -> None:
    text = "version: 1\ntables: {raw.x: }\nprocessors:\n"
    spec = only(text + "  P: {phase: 1, output: o.p, requires: [{table: raw.x}]}\n", "P")
    assert spec.policy == Policy()
    assert spec.requirements == (
        Requirement(key="raw.x", kind=RequirementKind.TABLE, sources=("raw.x",)),
    )
    assert (spec.timezone, spec.calendar_table, spec.known_from) == ("America/New_York", None, None)
    assert (spec.launch, spec.entrypoint, spec.aliases) == (None, None, ())


def test_defaults_hold_for_every_processor_that_does_not_say_otherwise() -> None:
    text = changed(
        "  cooldown: 2h\n", "  cooldown: 2h\n  grace: 1m\n  deadline: {at: '10:00', day: 1}\n"
    )
    registry = parse(text)
    players, teams = registry.processors["Players"].policy, registry.processors["Teams"].policy
    assert (players.cooldown, players.grace) == (2 * HOUR, 15 * MINUTE)
    assert (teams.cooldown, teams.grace) == (2 * HOUR, MINUTE)
    assert teams.deadline == Deadline(at=ClockTime(hour=10, minute=0, day=1))


def test_nothing_takes_a_default_deadline_not_before_or_schedule_away() -> None:
    defaults = (
        "  cooldown: 2h\n  deadline: {at: '10:00'}\n"
        "  not_before: {at: '09:00'}\n  schedule: [{at: '11:00'}]\n"
    )
    own = "    grace: 15m\n    deadline: null\n    not_before: ~\n    schedule: []\n"
    registry = parse(changed("    grace: 15m\n", own, changed("  cooldown: 2h\n", defaults)))
    players, teams = registry.processors["Players"].policy, registry.processors["Teams"].policy
    assert (players.deadline, players.not_before, players.schedule) == (None, None, ())
    assert (teams.deadline is None, teams.not_before is None) == (False, False)
    assert len(teams.schedule) == 1


@pytest.mark.parametrize("key", [k for k in POLICY_KEYS if k != "grace"])
def test_nothing_takes_any_default_away(key: str) -> None:
    value = {
        "not_before": "{at: '09:00'}",
        "deadline": "{at: '10:00'}",
        "schedule": "[{at: '11:00'}]",
        "max_refires": "7",
        "attempts": "7",
        "off_day": "run",
    }.get(key, "7m")
    defaults = changed("  cooldown: 2h\n", f"  {key}: {value}\n")
    registry = parse(changed("    grace: 15m\n", f"    {key}: null\n", defaults))
    players, teams = registry.processors["Players"].policy, registry.processors["Teams"].policy
    assert getattr(players, key) == getattr(Policy(), key) != getattr(teams, key)


def test_a_default_launch_holds_where_a_processor_names_none_and_nothing_takes_it_away() -> None:
    defaults = changed("  cooldown: 2h\n", "  launch: {pubsub: nba-phase3-trigger}\n")
    topic = LaunchTarget(kind=LaunchKind.PUBSUB, address="nba-phase3-trigger")
    local = LaunchTarget(kind=LaunchKind.LOCAL)
    for own, target in [
        ("grace: 15m", topic),
        ("launch: {local: true}", local),
        ("launch: null", None),
        ("launch: ~", None),
    ]:
        registry = parse(changed("    grace: 15m\n", f"    {own}\n", defaults))
        assert registry.processors["Players"].launch == target
        assert registry.processors["Teams"].launch == topic
    assert parse(changed("  cooldown: 2h\n", "  launch:\n")).processors["Teams"].launch is None


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0s", 0), ("1s", 1), ("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172800)],
)
def test_durations_have_a_unit(written: str, seconds: int) -> None:
    policy = only(changed("grace: 15m", f"grace: {written}")).policy
    assert policy.grace == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (90 * timedelta(seconds=1), "90s"),
        (60 * MINUTE, "1h"),
        (25 * HOUR, "25h"),
    ],
)
def test_a_duration_is_shown_in_the_largest_unit_that_divides_it(
    duration: timedelta, text: str
) -> None:
    assert duration_text(duration) == text


@pytest.mark.parametrize("written", ['"09:05:30"', "09:05:30"])
def test_a_clock_time_may_have_seconds_and_needs_no_quotes(written: str) -> None:
    policy = only(changed("grace: 15m", f"not_before: {{at: {written}, day: -1}}")).policy
    assert policy.not_before == ClockTime(hour=9, minute=5, second=30, day=-1)


@pytest.mark.parametrize(
    ("launch", "target"),
    [
        ("{local: true}", LaunchTarget(kind=LaunchKind.LOCAL)),
        (
            "{http: 'https://run.example:8443/launch?x=1'}",
            LaunchTarget(kind=LaunchKind.HTTP, address="https://run.example:8443/launch?x=1"),
        ),
        (
            "{pubsub: projects/my-project/topics/nba-phase3}",
            LaunchTarget(kind=LaunchKind.PUBSUB, address="projects/my-project/topics/nba-phase3"),
        ),
    ],
)
def test_each_kind_of_launch(launch: str, target: LaunchTarget) -> None:
    assert only(changed("grace: 15m", f"launch: {launch}")).launch == target


def test_yaml_1_2_reads_off_no_and_yes_as_text() -> None:
    registry = parse(changed("[BoxLoader]", "[off, no, yes, on, 2024-10-22, 1:30]"))
    assert registry.tables["raw.box"].aliases == ("off", "no", "yes", "on", "2024-10-22", "1:30")
    assert parse("%YAML 1.1\n---\n" + changed("[BoxLoader]", "[off]")).table_for("off") is not None


def test_anchors_and_aliases_save_writing() -> None:
    text = changed("      - table: raw.box\n", "      - &box {table: raw.box}\n")
    assert parse(changed("      - {table: raw.odds}\n", "      - *box\n", text)).dependents(
        "raw.odds"
    )
    assert (
        len(
            parse(changed("      - {table: raw.odds}\n", "      - *box\n", text)).dependents(
                "raw.box"
            )
        )
        == 2
    )


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(SMALL, encoding="utf-8-sig")
    assert load(path) == parse("\ufeff" + SMALL) == parse(SMALL)


# ── requirements ─────────────────────────────────────────────────────────────────────────────


def test_each_form_of_dates() -> None:
    days = with_line("{table: raw.odds, dates: {window_days: 30}}")
    assert (days.kind, days.window) == (RequirementKind.WINDOW, Window(days=30, min_ready=1.0))
    assert days.key == "raw.odds [window_days 30]"
    ahead = with_line("{any_of: [raw.odds, raw.box], dates: {offset: 2}}")
    assert (ahead.offset, ahead.window) == (2, None)
    assert ahead.key == "any_of(raw.odds, raw.box) @+2d"
    same = with_line("{table: raw.odds, dates: {offset: 0}}")
    assert (same.offset, same.key) == (0, "raw.odds")


def test_minimums_and_coverage() -> None:
    line = with_line(
        "{table: raw.box, expected_count_min: 200, min_coverage: 0.9, critical: false}"
    )
    assert (line.expected_count_min, line.min_coverage, line.critical) == (200, 0.9, False)
    assert (
        with_line("{table: raw.box, expected_count_per_game: 17.5}").expected_count_per_game == 17.5
    )


def test_requirement_keys_are_unique_within_a_processor() -> None:
    text = changed(
        "      - table: raw.box\n",
        "      - table: raw.box\n" + 2 * "      - {table: raw.box, critical: false}\n",
    )
    keys = [r.key for r in only(text).requirements]
    assert keys[:3] == ["raw.box", "raw.box #2", "raw.box #3"]


def test_the_key_of_a_long_group_is_bounded_and_its_own() -> None:
    names = [f"raw.{'t' * 60}{i}" for i in range(20)]
    declared = "".join(f"  {n}:\n" for n in names)
    text = changed("  raw.odds:\n", f"  raw.odds:\n{declared}")
    keys = {
        only(changed("table: raw.box\n", f"any_of: [{', '.join(group)}]\n", text))
        .requirements[0]
        .key
        for group in (names, names[:1] + names[:0:-1], names[:-1])
    }
    assert len(keys) == 3
    assert all(len(k) < 200 and k.startswith("any_of(raw.ttt") for k in keys)


def test_disabled_tables_are_never_waited_for_and_are_listed() -> None:
    players = only(SMALL)
    assert players.requirements[1].sources == ("raw.odds",)
    assert players.requirements[1].key == "any_of(raw.odds, raw.plays)"
    assert players.disabled == ("raw.plays",)
    assert "raw.plays" not in players.grains
    assert parse(SMALL).dependents("raw.plays") == ()


def test_an_optional_line_whose_tables_are_all_disabled_is_dropped() -> None:
    players = only(changed("[raw.odds, raw.plays]", "[raw.plays]"))
    assert [r.key for r in players.requirements] == ["raw.box"]
    assert players.disabled == ("raw.plays",)


def test_an_optional_group_with_too_few_enabled_tables_is_dropped_with_a_warning() -> None:
    text = changed(
        "{any_of: [raw.odds, raw.plays], c", "{at_least: 2, of: [raw.odds, raw.plays], c"
    )
    registry = parse(text)
    players = registry.processors["Players"]
    assert [r.key for r in players.requirements] == ["raw.box"]
    assert players.disabled == ("raw.plays",)
    assert "it needs 2 tables and has 1 enabled" in registry.warnings[0].message


def test_at_least_counts_enabled_tables_only() -> None:
    text = changed("      - table: raw.box\n", "      - {at_least: 1, of: [raw.box, raw.plays]}\n")
    assert only(text).requirements[0].sources == ("raw.box",)


@pytest.mark.parametrize(
    ("old", "new", "field", "sentence"),
    [
        ("  raw.odds:\n", "  raw.odds:\n  raw.views:\n", "tables.raw.views", "no processor needs"),
        (
            "- {table: raw.odds}",
            "- {table: raw.odds, min_coverage: 0.5}",
            "processors.Teams.requires[1].min_coverage",
            "no table of this line has grain: game",
        ),
        (
            "- {table: raw.odds}",
            "- {table: raw.odds, max_age_hours_fail: 5, dates: {window_days: 2}}",
            "processors.Teams.requires[1].max_age_hours_fail",
            "not judged in a window",
        ),
    ],
)
def test_a_line_without_effect_is_valid_and_warned_of(
    old: str, new: str, field: str, sentence: str
) -> None:
    warnings = parse(changed(old, new)).warnings
    assert [w.field for w in warnings] == [field]
    assert sentence in warnings[0].message
    assert warnings[0].line > 1


def test_a_window_without_known_from_is_warned_of() -> None:
    text = changed(", known_from: 2024-10-22", "", changed("{offset: -1}", "{window_days: 2}"))
    assert "calendar.known_from is not set" in parse(text).warnings[0].message


# ── names ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("raw.box", "raw.box"),
        ("BoxLoader", "raw.box"),
        ("box", "raw.box"),
        ("plays", "raw.plays"),
        ("games", "raw.games"),
        ("Players", "out.players"),
        ("player_rows", "out.players"),
        ("players", "out.players"),
        ("out.teams", "out.teams"),
        ("Box", None),
        ("", None),
        ("nothing", None),
    ],
)
def test_table_for_knows_names_aliases_and_bare_names(name: str, table: str | None) -> None:
    found = parse(SMALL).table_for(name)
    assert (found.name if found is not None else None) == table


@pytest.mark.parametrize(
    ("name", "processor"),
    [
        ("Players", "Players"),
        ("player_rows", "Players"),
        ("out.players", "Players"),
        ("teams", "Teams"),
        ("raw.box", None),
        ("nobody", None),
    ],
)
def test_processor_for_knows_names_aliases_and_outputs(name: str, processor: str | None) -> None:
    found = parse(SMALL).processor_for(name)
    assert (found.name if found is not None else None) == processor


def test_a_bare_name_that_two_tables_have_means_neither() -> None:
    registry = parse(changed("  raw.odds:\n", "  raw.odds:\n  other.box:\n"))
    assert registry.table_for("box") is None
    assert registry.table_for("other.box") is not None


def test_an_alias_wins_over_a_bare_name() -> None:
    registry = parse(changed("[BoxLoader]", "[odds]"))
    found = registry.table_for("odds")
    assert found is not None
    assert found.name == "raw.box"


# ── the reverse index ────────────────────────────────────────────────────────────────────────


def test_dependents_say_who_names_a_table_and_for_which_dates() -> None:
    registry = parse(CONTRACT)
    lines = registry.dependents("nba_raw.a")
    assert [(d.spec.name, d.requirement.key, d.offset, d.window) for d in lines] == [
        ("TeamOffenseSummaryProcessor", "nba_raw.a", 0, None),
        ("PlayerGameSummaryProcessor", "at_least 2 of (nba_raw.a, nba_raw.b, nba_raw.c)", 0, None),
    ]
    schedule = registry.dependents("nba_raw.nbac_schedule")
    assert [(d.offset, d.window) for d in schedule] == [(-1, None)]
    own = registry.dependents("nba_analytics.player_game_summary")
    assert [(d.offset, d.window) for d in own] == [(None, Window(game_dates=10, min_ready=0.8))]
    assert registry.dependents("nba_raw.unknown") == ()
    assert all(d.spec is registry.processors[d.spec.name] for d in lines)


def test_processors_come_after_what_they_need_on_the_same_date_then_by_phase_and_name() -> None:
    lines = {
        "Z": "{phase: 3, output: o.z, requires: [{table: r.x}]}",
        "B": "{phase: 4, output: o.b, requires: [{table: o.z}]}",
        "A": "{phase: 4, output: o.a, requires: [{table: r.x}]}",
        "C": "{phase: 3, output: o.c, requires: [{table: o.b}, {table: o.a}]}",
        "D": "{phase: 9, output: o.d, requires: [{table: o.c, dates: {offset: -1}}]}",
    }
    for order in ("ZBACD", "DCABZ"):
        text = "version: 1\ntables: {r.x: }\nprocessors:\n"
        text += "".join(f"  {name}: {lines[name]}\n" for name in order)
        assert "".join(s.name for s in parse(text).in_order()) == "ZADBC"


def test_the_graph_has_every_table_processor_and_line() -> None:
    registry = parse(CONTRACT)
    graph = json.loads(json.dumps(registry.graph()))
    ids = [n["id"] for n in graph["nodes"]]
    assert sorted(ids) == sorted([*registry.tables, *registry.processors])
    assert all(e["from"] in ids and e["to"] in ids for e in graph["edges"])
    window = next(e for e in graph["edges"] if e["kind"] == "window")
    assert window["window"] == {"last_game_dates": 10, "min_ready": 0.8}
    assert (window["from"], window["critical"], window["offset"]) == (
        "nba_analytics.player_game_summary",
        True,
        None,
    )
    outputs = [(e["from"], e["to"]) for e in graph["edges"] if e["kind"] == "output"]
    assert outputs == [(s.name, s.output) for s in registry.in_order()]


# ── hash, data, differences ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1\n", "# a comment\n\n\nversion:   1  # another\n"),
        ("    phase: 3\n    output: out.teams\n", "    output: out.teams\n    phase: 3\n"),
        (
            "  raw.odds:\n  raw.plays:\n    enabled: false\n",
            "  raw.plays: {enabled: false}\n  raw.odds: {}\n",
        ),
        ("[BoxLoader]", '["BoxLoader"]'),
        ("known_from: 2024-10-22", 'known_from: "2024-10-22"'),
        ("grace: 15m", "grace: 900s"),
        ("grace: 15m", "grace: 15m\n    attempts: 3\n    off_day: skip"),
        (
            "      - {table: raw.odds}\n",
            "      - {critical: true, table: raw.odds, min_coverage: 1}\n",
        ),
    ],
)
def test_how_it_is_written_does_not_change_the_hash(old: str, new: str) -> None:
    text = changed(old, new)
    assert parse(text).registry_hash == parse(SMALL).registry_hash
    assert diff(parse(SMALL), parse(text)) == []


def test_the_order_of_processors_changes_neither_hash_nor_order() -> None:
    head, rest = SMALL.split("  Players:\n")
    players, teams = rest.split("  Teams:\n")
    turned = parse(f"{head}  Teams:\n{teams}  Players:\n{players}")
    assert turned.registry_hash == parse(SMALL).registry_hash
    assert [s.name for s in turned.in_order()] == [s.name for s in parse(SMALL).in_order()]


MEANINGS = [
    (
        "timezone: America/New_York",
        "timezone: Europe/Paris",
        ["timezone: America/New_York -> Europe/Paris"],
    ),
    ("2024-10-22", "2024-10-21", ["calendar.known_from: 2024-10-22 -> 2024-10-21"]),
    ("    grain: game\n", "", ["tables.raw.box.grain: game -> date"]),
    (
        "[BoxLoader]",
        "[BoxLoader, Boxer]",
        ['tables.raw.box.aliases: ["BoxLoader"] -> ["BoxLoader", "Boxer"]'],
    ),
    ("grace: 15m", "grace: 20m", ["processors.Players.policy.grace: 15m -> 20m"]),
    (
        "cooldown: 2h",
        "cooldown: 3h",
        [
            "processors.Players.policy.cooldown: 2h -> 3h",
            "processors.Teams.policy.cooldown: 2h -> 3h",
        ],
    ),
    (
        "- {table: raw.odds}",
        "- {table: raw.odds, critical: false}",
        ["processors.Teams.requires[raw.odds].critical: true -> false"],
    ),
    (
        "- {table: raw.odds}",
        "- {table: raw.box}",
        [
            "processors.Teams.requires[raw.odds]: removed",
            "processors.Teams.requires[raw.box]: added",
        ],
    ),
    (
        "grace: 15m",
        "grace: 15m\n    deadline: {at: '10:00', then: fire}",
        [
            'processors.Players.policy.deadline: none -> {"at": "10:00:00", "day": 0, "then": "fire"}'
        ],
    ),
    (
        "output: out.teams",
        "output: out.squads",
        [
            "tables.out.teams: removed",
            "tables.out.squads: added",
            "processors.Teams.output: out.teams -> out.squads",
        ],
    ),
]


@pytest.mark.parametrize(("old", "new", "lines"), MEANINGS)
def test_a_change_of_meaning_changes_the_hash_and_is_reported(
    old: str, new: str, lines: list[str]
) -> None:
    before, after = parse(SMALL), parse(changed(old, new))
    assert before.registry_hash != after.registry_hash
    assert diff(before, after) == lines


def test_the_hash_is_on_every_spec_and_is_sha256() -> None:
    registry = parse(SMALL)
    assert len(registry.registry_hash) == 64
    assert int(registry.registry_hash, 16)
    assert {s.registry_hash for s in registry.processors.values()} == {registry.registry_hash}


def test_as_dict_is_complete_json() -> None:
    registry = parse(CONTRACT)
    data = json.loads(json.dumps(registry.as_dict()))
    assert data["registry_hash"] == registry.registry_hash
    player = data["processors"]["PlayerGameSummaryProcessor"]
    assert player["policy"]["grace"] == {"seconds": 900, "text": "15m"}
    assert player["requires"][0]["max_age_warn"] == {"seconds": 43200, "text": "12h"}
    assert player["policy"]["schedule"] == [{"at": "11:30:00", "day": 0, "when": "ready"}]
    assert player["launch"] == {"kind": "pubsub", "address": "nba-phase3-trigger"}
    # since when it is set is the store's to know, not the file's
    assert set(player["policy"]) == set(Policy.__dataclass_fields__) - {"off_day_since"}
    assert set(player["requires"][0]) == set(Requirement.__dataclass_fields__)


def test_a_registry_is_frozen_and_equal_by_its_meaning() -> None:
    registry = parse(SMALL)
    with pytest.raises(FrozenInstanceError):
        registry.version = 2  # type: ignore[misc]
    assert registry == parse("# other text\n" + SMALL)
    assert registry != replace(registry, timezone="UTC")


# ── the registry of this repository ──────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def shipped() -> Registry:
    return load(ROOT / "registry.yaml")


def test_the_shipped_registry_has_the_plan_of_records_processors(shipped: Registry) -> None:
    needs = {
        s.name: {r.sources[0].split(".")[1]: r.critical for r in s.requirements}
        for s in shipped.processors.values()
    }
    assert needs == {
        "PlayerGameSummaryProcessor": {
            "nbac_gamebook_player_stats": True,
            "bdl_player_boxscores": True,
            "bigdataball_play_by_play": False,
            "nbac_play_by_play": False,
            "odds_api_player_points_props": False,
            "bettingpros_player_points_props": False,
        },
        "TeamOffenseSummaryProcessor": {
            "bdl_player_boxscores": True,
            "nbac_scoreboard_v2": True,
            "nbac_team_stats": False,
        },
        "TeamDefenseSummaryProcessor": {"bdl_player_boxscores": True, "nbac_scoreboard_v2": True},
    }
    assert shipped.warnings == ()
    assert shipped.calendar_table == "nba_raw.nbac_schedule"
    assert {s.policy.grace for s in shipped.processors.values()} == {15 * MINUTE}


def test_no_minimum_of_the_shipped_registry_is_a_fixed_number(shipped: Registry) -> None:
    lines = [r for s in shipped.processors.values() for r in s.requirements]
    assert all(r.expected_count_min is None for r in lines)
    assert all(r.expected_count_per_game is not None for r in lines if r.critical)


def test_the_shipped_registry_knows_what_the_loaders_and_processors_are_called(
    shipped: Registry,
) -> None:
    from processors.analytics import tables as analytics
    from processors.raw.loader import PROCESSOR_NAMES
    from processors.raw.tables import RAW_TABLES

    for table in RAW_TABLES:
        spec = shipped.tables[table.name]
        assert spec.grain.value == table.grain
        assert shipped.table_for(PROCESSOR_NAMES[table.name]) is spec
        assert shipped.table_for(table.name.split(".")[1]) is spec
    for output in analytics.ANALYTICS_TABLES:
        assert shipped.tables[output.name].producer is not None


def test_every_entry_point_of_the_shipped_registry_leads_to_its_processor(
    shipped: Registry,
) -> None:
    from importlib import import_module

    for spec in shipped.processors.values():
        assert spec.entrypoint is not None
        module, _, attribute = spec.entrypoint.partition(":")
        found = getattr(import_module(module), attribute)
        assert (found.name, found.output) == (spec.name, spec.output)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("NbacGamebookProcessor", "nba_raw.nbac_gamebook_player_stats"),
        ("p2_nbacom_gamebook_pdf", "nba_raw.nbac_gamebook_player_stats"),
        ("bdl_player_boxscores", "nba_raw.bdl_player_boxscores"),
        ("TeamOffenseProcessor", "nba_analytics.team_offense_game_summary"),
        ("player_game_summary", "nba_analytics.player_game_summary"),
        ("PlayerGameSummaryProcessor", "nba_analytics.player_game_summary"),
    ],
)
def test_names_met_in_production_are_known(shipped: Registry, name: str, table: str) -> None:
    found = shipped.table_for(name)
    assert found is not None
    assert found.name == table
