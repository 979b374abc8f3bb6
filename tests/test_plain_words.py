"""The documentation and the code use plain technical English: a short list of words is rejected.

The list holds private vocabulary that had grown here; each entry gives the usual word. Decision
records are kept as they were written, so only later ones are checked. Class names are unique, so
that a name says which class is meant.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PHRASES = {
    r"told": "reported, answered, notified",
    r"heard|unheard|hears": "received, known",
    r"stands?|stood": "is, is listed, is recorded",
    r"mend(s|ed|ing)?": "fix",
    r"doors?": "endpoint, client, entry point",
    r"dressed": "formatted",
    r"parted": "split, grouped",
    r"in force": "current, active",
    r"news": "new, a notice",
    r"adopt(s|ed|ing|ion)?": "roll out",
    r"look(s|ed|ing)? (back )?at": "read, check, evaluate",
    r"how-manieth": "ordinal",
    r"tried on": "retried",
    r"asked for": "requested",
    r"what was asked": "the request",
    r"living lease": "active lease",
    r"afresh|anew": "again",
    r"(take|takes|taken|took|taking) (it |them )?in": "ingest, record, read",
    r"(take|takes|taken|took|taking) up": "start, resume",
    r"(lie|lies|lay) in": "is in, is stored in",
    r"owes?|owed": "depends on",
    r"the house": "the project",
    r"(person|somebody|anybody|runner|deadline|people)'s word": "act, report, decision",
    r"str(ike|ikes|uck) off": "remove",
}
"""Pattern of a phrase in prose → what to write instead."""

NAMES = {
    *("told", "tell", "tells", "telling", "heard", "unheard", "mend", "mended", "door", "doors"),
    *("dressed", "parted", "news", "adopt", "adoption", "silence", "stands"),
}
"""Words that no identifier contains."""

KEPT_RECORDS = 20
"""Decision records up to this number are kept as they were written."""

SOURCES: tuple[str, ...] = ("benchmarks", "coordinator", "processors", "tests")
"""Folders whose comments, docstrings, texts and identifiers are checked."""

KINDS = ("py", "sql", "yaml")
"""The kinds of files that are checked."""

PRODUCTION = ("coordinator", "processors")
"""Folders in which no two classes share a name. Tests may name a fake as what it replaces."""


def compiled(pattern: str) -> re.Pattern[str]:
    """A whole phrase, also where it spans two lines of a comment."""
    spaced = pattern.replace(" ", r"[\s#]+")
    return re.compile(rf"(?<![\w-])(?:{spaced})(?![\w-])", re.IGNORECASE)


PATTERNS = {compiled(pattern): advice for pattern, advice in PHRASES.items()}


def phrases_in(text: str, first_line: int = 1) -> Iterator[str]:
    """Every rejected phrase with its line and what to write instead."""
    for pattern, advice in PATTERNS.items():
        for hit in pattern.finditer(text):
            line = first_line + text.count("\n", 0, hit.start())
            yield f"{line}: {' '.join(hit[0].split())!r}; write: {advice}"


def texts_of(source: str) -> Iterator[tuple[int, str]]:
    """The comments, docstrings and other texts of a Python file, each with its first line."""
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            if comments and comments[-1][0] + comments[-1][1].count("\n") + 1 == line:
                first, text = comments[-1]
                comments[-1] = (first, f"{text}\n{token.string}")
            else:
                comments.append((line, token.string))
        elif token.type == tokenize.STRING or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield line, token.string
    yield from comments


def names_in(source: str) -> Iterator[str]:
    """Every identifier of a Python file with a rejected word in it."""
    seen: set[str] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string not in seen:
            seen.add(token.string)
            words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", token.string)
            bad = NAMES.intersection(word.lower() for word in words)
            if bad or "in_force" in token.string:
                yield f"{token.start[0]}: the name {token.string}"


def found_in(path: Path) -> list[str]:
    """Everything that is rejected in a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":  # a `name` is spelled as in the code
        return list(phrases_in(re.sub(r"`[^`\n]+`", "`code`", text)))
    if path.suffix != ".py":
        return list(phrases_in(text))
    return [
        *(hit for line, part in texts_of(text) for hit in phrases_in(part, line)),
        *names_in(text),
    ]


def files_of(places: tuple[str, ...]) -> list[Path]:
    """The Python, SQL and YAML files of these folders, but for this one; a folder must exist."""
    found: set[Path] = set()
    for name in places:
        place = ROOT / name
        assert place.is_dir(), f"{name} does not exist"
        found.update(file for kind in KINDS for file in place.rglob(f"*.{kind}"))
    return sorted(found - {Path(__file__).resolve()})


def pages() -> list[Path]:
    """The pages of the project, without the decision records that are kept as written."""
    records = (ROOT / "docs" / "decisions").glob("*.md")
    later = [record for record in records if int(record.name[:4]) > KEPT_RECORDS]
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    return sorted([*found, *later])


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_a_page_is_written_in_plain_words(page: Path) -> None:
    assert found_in(page) == []


@pytest.mark.parametrize("file", files_of(SOURCES), ids=shown)
def test_a_file_is_written_in_plain_words(file: Path) -> None:
    assert found_in(file) == []


def classes_of(source: str) -> Iterator[str]:
    """The classes that a Python file defines, nested ones too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            yield node.name


def test_no_two_classes_share_a_name() -> None:
    found: dict[str, list[str]] = {}
    for file in files_of(PRODUCTION):
        if file.suffix == ".py":
            for name in classes_of(file.read_text(encoding="utf-8")):
                found.setdefault(name, []).append(shown(file))
    assert found
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_a_nested_class_counts() -> None:
    assert [*classes_of("class A:\n    class B: ...\ndef f():\n    class A: ...")] == [
        "A",
        "B",
        "A",
    ]


@pytest.mark.parametrize("pattern", PHRASES)
def test_every_phrase_is_found_wherever_it_is_written(pattern: str, tmp_path: Path) -> None:
    phrase = {  # one example of each pattern
        r"heard|unheard|hears": "heard",
        r"stands?|stood": "stands",
        r"mend(s|ed|ing)?": "mended",
        r"doors?": "door",
        r"adopt(s|ed|ing|ion)?": "adopted",
        r"look(s|ed|ing)? (back )?at": "looks\n# back at",
        r"afresh|anew": "anew",
        r"(take|takes|taken|took|taking) (it |them )?in": "taken\n# in",
        r"(take|takes|taken|took|taking) up": "takes up",
        r"(lie|lies|lay) in": "lies in",
        r"owes?|owed": "owes",
        r"(person|somebody|anybody|runner|deadline|people)'s word": "person's word",
        r"str(ike|ikes|uck) off": "struck off",
    }.get(pattern, pattern)
    assert list(phrases_in(f"What is {phrase} here"))
    file = tmp_path / "module.py"
    file.write_text(f"# what is {phrase} here\nvalue = 1\n", encoding="utf-8")
    assert len(found_in(file)) == 1
    plain = phrase.replace("\n#", "")
    file.write_text(f'"""What is {plain} here."""\nvalue = f"what is {plain} {{1}}"\n', "utf-8")
    assert len(found_in(file)) == 2


@pytest.mark.parametrize("name", ["HttpDoor", "was_told", "in_force", "NEWS_AFTER", "parted"])
def test_a_name_is_found_in_every_spelling(name: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(f"{name} = 1\n", encoding="utf-8")
    assert found_in(file)


@pytest.mark.parametrize(
    "text", ["understand the standard", "renewal", "taken inside", "indoors", "amended", "newest"]
)
def test_longer_words_are_no_phrases(text: str) -> None:
    assert list(phrases_in(text)) == []
