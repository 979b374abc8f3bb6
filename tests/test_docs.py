"""What the documentation names exists: links, make targets, commands and options, words."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    }
)
SHELL_FENCES = {"", "sh", "shell", "bash", "console", "text"}
GLOSSARY_WORDS = [
    *("table", "processor", "game date", "partition", "arrival", "requirement", "verdict"),
    *("generation", "run", "attempt", "claim", "lease", "outbox", "dirty", "calendar", "waiver"),
    *("sweep", "registry", "ledger", "quarantine", "phase", "launch", "announce", "notify"),
    *("grace", "debounce", "settle", "cooldown", "deadline", "window", "backfill", "reconcile"),
    *("re-fire", "bypass", "quiet", "fencing", "wake_at", "coverage", "grain"),
]

type_of_page = pytest.mark.parametrize(
    "page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES]
)

_FENCE = re.compile(
    r"^(?P<mark>`{3,}|~{3,})(?P<language>\S*)[^\n]*\n(?P<body>.*?)^(?P=mark)", re.M | re.S
)


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def shell_lines(page: Path) -> list[str]:
    """Every line that a reader may type: shell fences (continuations joined) and inline code."""
    lines: list[str] = []
    for fence in _FENCE.finditer(page.read_text(encoding="utf-8")):
        if fence["language"].lower() in SHELL_FENCES:
            lines += fence["body"].replace("\\\n", " ").splitlines()
    lines += re.findall(r"`([^`\n]+)`", prose(page))
    return [re.sub(r"^\s*[$>]\s+", "", line).split(" #")[0].strip() for line in lines]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        repeats = sum(1 for anchor in found if re.fullmatch(re.escape(slug) + r"(-\d+)?", anchor))
        found.add(f"{slug}-{repeats}" if repeats else slug)
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', prose(page)))


@cache
def make_targets() -> frozenset[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))


@cache
def command_tree() -> dict[tuple[str, ...], frozenset[str]]:
    """Every command of the command line as its words, with the options it takes."""
    import typer.main

    from coordinator.cli import app

    tree: dict[tuple[str, ...], frozenset[str]] = {}

    def walk(command: object, words: tuple[str, ...]) -> None:
        parameters = getattr(command, "params", [])
        options = {
            name
            for parameter in parameters
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        tree[words] = frozenset({*options, "--help"})
        for name, child in getattr(command, "commands", {}).items():
            walk(child, (*words, name))

    walk(typer.main.get_command(app), ())
    return tree


def commands_in(page: Path) -> list[str]:
    calls: list[str] = []
    for line in shell_lines(page):
        for part in re.split(r"\s*(?:&&|\|\||[;|&])\s*", line):
            call = re.match(r"(?:\w+=\S+\s+)*(?:\S*/bin/)?coordinator\s+(\S.*)$", part)
            if call:
                calls.append(call[1])
    return calls


def mistake_in(call: str) -> str | None:
    tree = command_tree()
    words: tuple[str, ...] = ()
    rest = call.split()
    while rest and (*words, rest[0]) in tree:
        words = (*words, rest.pop(0))
    has_children = any(known[: len(words)] == words and len(known) > len(words) for known in tree)
    following = rest[0] if rest else ""
    if has_children and re.fullmatch(r"[a-z][a-z-]*", following):
        return f"`coordinator {' '.join((*words, following))}` is no command"
    for option in re.findall(r"(?<=\s)--[a-z][a-z-]*", " " + " ".join(rest)):
        if option not in tree[words] and option not in tree[()]:
            return f"`coordinator {' '.join(words)}` takes no option {option}"
    return None


def test_the_readme_is_there() -> None:
    assert (ROOT / "README.md").is_file()


@type_of_page
def test_every_link_leads_to_a_file_and_heading_that_exist(page: Path) -> None:
    broken: list[str] = []
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", text)
    targets += re.findall(r"^\[[^\]]+\]:\s+(\S+)", text, re.MULTILINE)
    for target in targets:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        missing_anchor = (
            bool(anchor) and file.suffix == ".md" and file.is_file() and anchor not in anchors(file)
        )
        if not file.exists() or ROOT not in (file, *file.parents) or missing_anchor:
            broken.append(target)
    assert not broken


@type_of_page
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    named = {
        target
        for line in shell_lines(page)
        for target in re.findall(r"(?:^|&&\s*|;\s*|\s)make\s+([a-z][a-z-]*)", line)
    }
    assert named <= make_targets(), f"no such target: {sorted(named - make_targets())}"


@type_of_page
def test_every_command_and_option_that_is_named_exists(page: Path) -> None:
    calls = commands_in(page)
    mistakes = [mistake for call in calls if (mistake := mistake_in(call))]
    assert not mistakes


def test_every_command_is_documented() -> None:
    documented = {call.split()[0] for page in PAGES for call in commands_in(page)}
    verbs = {words[0] for words in command_tree() if words}
    assert verbs <= documented, f"documented nowhere: {sorted(verbs - documented)}"


def test_the_quickstart_gives_every_file_that_it_sends() -> None:
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    named = re.findall(r"coordinator (?:events send|calendar load) (\S+)", page)
    assert named
    assert [file for file in named if f"cat > {file} <<" not in page] == []


def test_the_quickstart_frees_the_port_before_it_serves_again() -> None:
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    before, _, _ = page.partition("coordinator serve")
    assert "ctrl-c" in before[before.index("## 4.") :]


def test_every_section_and_law_that_is_named_is_in_the_specification() -> None:
    page = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^##+ (\d(?:\.\d)?)\.? ", page, re.MULTILINE))
    laws = set(re.findall(r'<a id="law-(\d)">', page))
    assert {"2", "3.1", "4", "5.4", "7"} <= sections
    assert laws == {str(number) for number in range(1, 9)}
    named: set[str] = set()
    for folder in ("coordinator", "processors", "tests", "docs"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in {".py", ".md"} and "decisions" not in file.parts:
                text = " ".join(file.read_text(encoding="utf-8").split())
                named |= set(re.findall(r"specification,? (?:section )?(\d(?:\.\d)?)", text, re.I))
    assert len(named) > 15
    assert named - sections == set()


def test_every_file_that_the_architecture_names_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.(?:py|yaml|md)|/))", page))
    places = (ROOT, ROOT / "coordinator", ROOT / "coordinator" / "simulation")
    assert len(named) > 30
    assert [n for n in sorted(named) if not any((p / n).exists() for p in places)] == []


def test_a_changed_decision_record_names_the_later_records_at_its_top() -> None:
    changed: dict[int, list[int]] = {}
    for record in (ROOT / "docs" / "decisions").glob("*.md"):
        title, _, text = record.read_text(encoding="utf-8").partition("\n\n")
        assert title.startswith(f"# {int(record.name[:4])}. ")
        note, _, _ = text.partition("\n\n")
        if note.startswith("> "):
            later = [int(number) for number in re.findall(r"\((\d{4})-", note)]
            changed[int(record.name[:4])] = later
            assert later, f"{record.name} does not name the record that changed it"
    assert changed[3] == [9]
    assert all(number < later for number, some in changed.items() for later in some)


def test_no_page_suggests_a_package_index() -> None:
    """The package is installed from a checkout; nothing is published under its name."""
    published = re.compile(r"pip install\s+'?coordinator\b")
    assert [page.name for page in PAGES if published.search(page.read_text("utf-8"))] == []


def test_docs_check_looks_at_every_page_that_the_code_can_contradict() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ndocs-check:")[2].partition("\nformat:")[0]
    tests = [(ROOT / file).read_text(encoding="utf-8") for file in re.findall(r"tests/\S+", recipe)]
    pages = [*(ROOT / "docs").glob("reference-*.md"), ROOT / "docs" / "notices.md"]
    assert [p.name for p in pages if not any(p.name in test for test in tests)] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {
        (ROOT / "docs" / target.partition("#")[0]).resolve()
        for target in re.findall(r"\]\(([^)\s]+)\)", index)
    }
    pages = {page for page in (ROOT / "docs").rglob("*.md") if page.name != "README.md"}
    unlisted = sorted(page.relative_to(ROOT).as_posix() for page in pages - linked)
    assert not unlisted, f"not in docs/README.md: {unlisted}"


@pytest.mark.parametrize("word", GLOSSARY_WORDS)
def test_the_glossary_defines(word: str) -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entry = rf"^\*\*[^*\n]*(?<!\w){re.escape(word)}(?!\w)[^*\n]*\*\*"
    assert re.search(entry, glossary, re.MULTILINE | re.IGNORECASE), f"define {word!r}"


def test_decision_records_are_numbered_without_gaps() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(record.name[:4]) for record in records]
    assert numbers == list(range(1, len(records) + 1))
