from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ntspool.config import yamlfile
from ntspool.config.yamlfile import DEEPEST_NESTING, LARGEST_FILE, Document, read, show, spell
from ntspool.errors import ConfigError


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(yamlfile, "_LOADER", getattr(yaml, request.param))
    return request.param


def read_text(folder: Path, text: str | bytes) -> Document:
    path = folder / "x.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read(path)


def refusal_of(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


def test_lines_are_those_of_keys_and_items(tmp_path: Path) -> None:
    document = read_text(tmp_path, "\ufeff# top\n\na:\n  - 1\n  - b: {c: 2,\n      d: [3,\n 4]}\ne:\n  text\n")
    assert document.value == {"a": [1, {"b": {"c": 2, "d": [3, 4]}}], "e": "text"}
    assert document.lines == {
        (): 3,
        ("a",): 3,
        ("a", 0): 4,
        ("a", 1): 5,
        ("a", 1, "b"): 5,
        ("a", 1, "b", "c"): 5,
        ("a", 1, "b", "d"): 6,
        ("a", 1, "b", "d", 0): 6,
        ("a", 1, "b", "d", 1): 7,
        ("e",): 8,
    }
    assert (document.mistakes, document.unread) == ((), frozenset())


def test_what_stands_at_a_place(tmp_path: Path) -> None:
    document = read_text(tmp_path, "a: [{b: 1}]\nc: text")
    assert document.at() == document.value
    assert document.at("a", 0, "b") == 1
    for place in (("z",), ("a", 1), ("a", "b"), ("a", 0, 0), ("c", 0), ("c", "x", "y")):
        assert document.at(*place) is None
    assert document.line(("c", "x", "y")) == 2
    assert document.mistake(("c", 0), "no").text == "c: no"
    assert document.mistake(("c", "x"), "no").text == "c.x: no"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("false", False),
        ("yes", "yes"),
        ("off", "off"),
        ("True", "True"),
        ("0", 0),
        ("-12", -12),
        ("+12", 12),
        ("0123", "0123"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("22:30", "22:30"),
        ("2026-01-01", "2026-01-01"),
        ("9" * 18, int("9" * 18)),
        ("9" * 19, "9" * 19),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e999", float("inf")),
        (".inf", ".inf"),
        ("1.2.3", "1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("|\n  12\n", "12\n"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    read_value = read_text(tmp_path, f"a: {text}").at("a")
    assert (read_value, type(read_value)) == (value, type(value))


def test_an_empty_file_is_nothing(tmp_path: Path) -> None:
    for text in ("", "# only a comment\n", "---\n", "---\n...\n"):
        assert read_text(tmp_path, text).value is None


def test_aliases_are_told_and_never_followed(tmp_path: Path) -> None:
    document = read_text(tmp_path, "a: &x [1]\nb: *x\nc:\n  - *y\n  - 2\n")
    assert document.value == {"a": [1], "b": None, "c": [None, 2]}
    assert document.unread == {("b",), ("c", 0)}
    assert [(mistake.line, mistake.text) for mistake in document.mistakes] == [
        (2, "b: the alias *x is not followed; expected the value written out"),
        (4, "c[0]: the alias *y is not followed; expected the value written out"),
    ]


def test_a_bomb_of_aliases_does_not_go_off(tmp_path: Path) -> None:
    levels = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 40)]
    document = read_text(tmp_path, "a0: &a0 [lol]\n" + "\n".join(levels))
    assert len(document.mistakes) == 9 * 39


def test_tags_are_told(tmp_path: Path) -> None:
    document = read_text(tmp_path, "a: !!python/object/apply:os.system ['true']\nb: !x {c: 1}\n")
    assert document.value == {"a": None, "b": None}
    assert document.unread == {("a",), ("b",)}
    assert [mistake.line for mistake in document.mistakes] == [1, 2]


def test_the_first_of_two_equal_keys_stands(tmp_path: Path) -> None:
    document = read_text(tmp_path, "a: 1\nb: {c: 2}\n'a': 3\nb:\n  c: 4\n  d: 5\n")
    assert document.value == {"a": 1, "b": {"c": 2}}
    assert [(mistake.line, mistake.text) for mistake in document.mistakes] == [
        (3, "a: stands in line 1 already; expected each key only once"),
        (4, "b: stands in line 2 already; expected each key only once"),
    ]
    assert document.lines["b", "c"] == 2


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (b"a: 1\nb: \xff\n", "x.yaml:2: byte 0xff is not UTF-8; expected text in UTF-8"),
        (b"\xff\xfea\0", "x.yaml:1: byte 0xff is not UTF-8; expected text in UTF-8"),
        ("a: 1\n\nb: \x00", "x.yaml:3: character U+0000 must not stand in YAML; expected printable text"),
        ("a: \x1b[0m", "x.yaml:1: character U+001B must not stand in YAML; expected printable text"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: a second document begins here; expected one document in the file"),
        ("{{ name }}: x", "x.yaml:1: a key is a list, a mapping or an alias; expected a word"),
        ("a: 1\n? [b]\n: c\n", "x.yaml:2: a key is a list, a mapping or an alias; expected a word"),
        ("a: &x 1\n*x : c\n", "x.yaml:2: a key is a list, a mapping or an alias; expected a word"),
        ("a:\n  " + "[" * 2000, f"x.yaml:2: nested too deeply; expected at most {DEEPEST_NESTING} levels"),
        ("a: 1\nb: 2: 3\n", "x.yaml:2: not YAML: mapping values are not allowed"),
        ("a: 1\nb: [1, 2\nc: 3\n", "x.yaml:3: not YAML: while parsing a flow sequence begun in line 2, "),
        ("listen: [[::]:4460]\n", "x.yaml:1: "),
        ("a:\n\t- b\n", "x.yaml:2: not YAML: while scanning for the next token"),
    ],
)
def test_there_is_no_going_on(tmp_path: Path, text: str | bytes, refusal: str) -> None:
    assert refusal_of(tmp_path, text).startswith(refusal)


def test_what_was_wrong_before_a_full_stop_is_told_too(tmp_path: Path) -> None:
    assert [line[:13] for line in refusal_of(tmp_path, "a: *b\na: 1\nc: [\n").splitlines()] == [
        "x.yaml:1: a: ",
        "x.yaml:2: a: ",
        "x.yaml:4: not",
    ]


def test_a_file_may_have_four_mebibytes(tmp_path: Path) -> None:
    text = "#" * (LARGEST_FILE - 5) + "\na: 1"
    assert read_text(tmp_path, text).value == {"a": 1}
    assert refusal_of(tmp_path, text + "2") == "x.yaml:1: the file is too large; expected at most 4 MiB"


def test_escapes_out_of_range_are_refused(tmp_path: Path, loader: str) -> None:
    refusal = refusal_of(tmp_path, 'a: "\\U99999999"')
    assert refusal.startswith("x.yaml:1: not YAML: ")
    assert loader == "CSafeLoader" or "out of range" in refusal


def test_places_and_values_are_spelt_on_one_line() -> None:
    assert spell(("backends", 2, "weight")) == "backends[2].weight"
    assert spell(("a b", 0, "c.d", "")) == "'a b'[0].'c.d'.''"
    shown = {"a\n\x1b\u202e": r"'a\n\x1b\u202e'", "x" * 61: "'" + "x" * 57 + "...'", 1.5: "1.5"}
    assert {value: show(value) for value in shown} == shown
    assert [show(value) for value in (None, True, [], [1], {}, {"a": 1})] == [
        "nothing",
        "true",
        "an empty list",
        "a list",
        "an empty mapping",
        "a mapping",
    ]


@given(value=st.text() | st.integers() | st.floats() | st.lists(st.none()))
def test_a_shown_value_is_short_and_printable(value: object) -> None:
    shown = show(value)
    assert shown.isprintable()
    assert len(shown) <= 620 if isinstance(value, str) else len(shown) <= 60
