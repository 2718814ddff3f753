"""backends.yaml edited: what is meant changes, and not a character besides."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ntspool.config import edit, spans, spelling, yamlfile
from ntspool.config.yamlfile import Document
from ntspool.errors import ConfigError, LocalError, RefusedError

SAMPLE = Path(__file__).parents[2] / "backends.yaml"
NEW = {"name": "new", "address": ["192.0.2.9", "2001:db8::9"], "weight": 5}
PATH = Path("backends.yaml")


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True, scope="module")
def loader(request: pytest.FixtureRequest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yamlfile, "_LOADER", getattr(yaml, request.param))
        yield


def document(text: str) -> Document:
    return yamlfile.parse(PATH, text.encode())


def added(text: str) -> str:
    return edit.add(document(text), NEW)


def removed(text: str, name: str) -> str:
    return edit.remove(document(text), name)


def changed(text: str, name: str, **changes: object) -> str:
    return edit.change(document(text), name, changes)


BLOCK = """\
backends:
- name: a  # the first
  address: 192.0.2.1
# of b
- name: b
  # two of them
  address:
    - 192.0.2.2  # old
    - 192.0.2.3  # new
  # weight: 3
    # deeper
log: {level: info}
"""

FLOW_LINES = """\
backends: [
  {name: a, address: x},  # the first
  # of b
  {name: b, address: y}   # no comma
]
"""


def test_a_new_item_is_written_as_the_last_one() -> None:
    assert added("backends:\n  - {name: a}\n") == (
        'backends:\n  - {name: a}\n  - {name: new, address: [192.0.2.9, "2001:db8::9"], weight: 5}\n'
    )
    assert added("backends:\n-   { name: 'a' }").endswith(
        "\n-   { name: new, address: [192.0.2.9, '2001:db8::9'], weight: 5 }"
    )
    assert added("backends:\n    -  name: a\nlog: {}\n") == (
        "backends:\n    -  name: a\n    -  name: new\n"
        '       address: [192.0.2.9, "2001:db8::9"]\n       weight: 5\nlog: {}\n'
    )
    assert added("backends:\n  -\n    name: a\n").partition("  - name: new\n")[2] == (
        '    address: [192.0.2.9, "2001:db8::9"]\n    weight: 5\n'
    )
    assert added("backends: [{name: a}, {name: b}]  # all\n") == (
        'backends: [{name: a}, {name: b}, {name: new, address: [192.0.2.9, "2001:db8::9"], weight: 5}]  # all\n'
    )


def test_a_new_item_stands_behind_the_last_one_and_its_comments() -> None:
    text = added(BLOCK)
    assert text.index("    # deeper\n- name: new\n") < text.index("log:")
    assert "  # weight: 3\n    # deeper\n" in text


def test_a_blank_line_between_items_is_kept_up() -> None:
    assert "\n\n- {name: new," in added("backends:\n- {name: a}\n\n# of b\n- {name: b}\n")
    assert "}\n- {name: new," in added("backends:\n- {name: a}\n# of b\n- {name: b}\n")


def test_a_flow_list_over_several_lines_goes_on_in_the_next_line() -> None:
    new = '{name: new, address: [192.0.2.9, "2001:db8::9"], weight: 5}'
    assert added(FLOW_LINES) == FLOW_LINES.replace("y}   # no comma\n", f"y}},   # no comma\n  {new}\n")
    with_comma = FLOW_LINES.replace("y}   #", "y},  #")
    assert added(with_comma) == with_comma.replace("# no comma\n", f"# no comma\n  {new},\n")


@pytest.mark.parametrize(
    "text",
    [
        BLOCK,
        FLOW_LINES,
        FLOW_LINES.replace("y}   #", "y},  #"),
        FLOW_LINES.replace("   # no comma\n]", "]"),
        FLOW_LINES.replace("   # no comma\n]", ", ]"),
        "backends: [{name: a}]",
        "backends: [{name: a}, ]\n",
        "backends: [{name: a} # c\n  ]\n",
        "backends: [{name: a}, # c\n  ]\n",
        "backends:\n- {name: a}",
        "backends:\n- {name: a}\n\n\n- {name: b}  # c\n\n\nlog: {}\n",
        "backends:\n- {name: a}\n\n- {name: b}",
        "backends:\n  - name: >-\n      a\n",
        "backends:\n  - name: |\n      a\n      # no comment\n\n\n# a comment\n",
        "--- # x\nbackends:\n- {name: a}\n...\n",
        "{pool: {names: [x]}, backends: [{name: a}]}",
        SAMPLE.read_text(),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_what_was_added_can_be_taken_out_without_a_trace(text: str, ends: str) -> None:
    text = text.replace("\n", ends)
    more = added(text)
    assert more != text
    assert len(more.splitlines()) == more.count(ends) + (not more.endswith(ends))
    assert removed(more, "new") == text


def test_an_item_goes_with_the_comments_that_belong_to_it() -> None:
    assert removed(BLOCK, "a") == BLOCK.replace("- name: a  # the first\n  address: 192.0.2.1\n", "")
    assert removed(BLOCK, "b") == BLOCK[: BLOCK.index("# of b")] + "log: {level: info}\n"
    assert removed(FLOW_LINES, "a") == FLOW_LINES.replace("  {name: a, address: x},  # the first\n", "")
    assert removed(FLOW_LINES, "b") == "backends: [\n  {name: a, address: x}  # the first\n]\n"


def test_comments_stay_that_a_blank_line_sets_apart() -> None:
    text = "backends:\n# all of them\n\n# of a\n- {name: a}\n# also above b\n\n- {name: b}\n# below\n"
    assert removed(text, "a") == "backends:\n# all of them\n\n# also above b\n\n- {name: b}\n# below\n"
    assert removed(text, "b") == "backends:\n# all of them\n\n# of a\n- {name: a}\n# also above b\n# below\n"


def test_no_second_blank_line_is_left() -> None:
    text = "backends:\n- {name: a}\n\n- {name: b}\n\n- {name: c}\n\nlog: {}\n"
    assert removed(text, "a") == text.replace("- {name: a}\n\n", "")
    assert removed(text, "b") == text.replace("- {name: b}\n\n", "")
    assert removed(text, "c") == text.replace("- {name: c}\n\n", "")


@pytest.mark.parametrize(
    ("text", "name", "left"),
    [
        ("[{name: a}, {name: b}, {name: c}]", "a", "[{name: b}, {name: c}]"),
        ("[{name: a}, {name: b}, {name: c}]", "b", "[{name: a}, {name: c}]"),
        ("[{name: a}, {name: b}, {name: c}]", "c", "[{name: a}, {name: b}]"),
        ("[{name: a}, {name: b},\n {name: c}]", "b", "[{name: a}, \n {name: c}]"),
        ("[{name: a}, # x\n {name: b}]", "b", "[{name: a} # x\n ]"),
        ("[{name: a}, # x\n {name: b}, ]", "b", "[{name: a}, # x\n  ]"),
        ("[{name: a}\n , {name: b}]", "a", "[ {name: b}]"),
    ],
)
def test_items_of_flow_lists_go_with_their_comma(text: str, name: str, left: str) -> None:
    assert removed(f"backends: {text}\n", name) == f"backends: {left}\n"


def test_the_only_backend_stays() -> None:
    with pytest.raises(RefusedError, match="a is the only backend; a pool needs one, so add another one first"):
        removed("backends: [{name: a}]", "a")


def test_a_backend_that_is_not_there_is_told() -> None:
    with pytest.raises(LocalError, match=r"there is no backend 'c' in backends.yaml; there are a, _ntp._udp.example"):
        removed("backends: [{name: a}, {srv: _ntp._udp.example}]", "c")
    with pytest.raises(LocalError, match="'a' stands more than once"):
        removed("backends: [{name: a}, {name: a}]", "a")


def test_what_has_no_name_goes_by_none() -> None:
    for action in (lambda text: removed(text, ""), lambda text: changed(text, "", weight=5)):
        with pytest.raises(LocalError, match=r"^there is no backend '' in backends\.yaml; there are b$"):
            action("backends: [a, {address: 192.0.2.1}, {name: b}]\n")


def test_an_srv_entry_goes_by_its_srv_name() -> None:
    text = "backends:\n- {name: a}\n- {srv: _ntp._udp.example}\n"
    assert removed(text, "_ntp._udp.example") == "backends:\n- {name: a}\n"
    assert changed(text, "_ntp._udp.example", weight=3).endswith("- {srv: _ntp._udp.example, weight: 3}\n")


@pytest.mark.parametrize(
    ("item", "changes", "result"),
    [
        ("{name: a, weight: 5} # c", {"weight": 6}, "{name: a, weight: 6} # c"),
        ("{name: a, weight: 5, port: 1}", {"weight": None}, "{name: a, port: 1}"),
        ("{weight: 5, name: a}", {"weight": None}, "{name: a}"),
        ("{name: a, weight: 5}", {"weight": None}, "{name: a}"),
        ("{name: a, weight: 5, }", {"weight": None}, "{name: a, }"),
        ("{name: a, }", {"weight": 5}, "{name: a, weight: 5, }"),
        ("{name: a}", {"weight": 5, "port": 1}, "{name: a, weight: 5, port: 1}"),
        ("{name: a, region: }", {"region": "de"}, "{name: a, region: de }"),
        ("{name: a, region}", {"region": "de"}, "{name: a, region: de}"),
        ("{name: a, region}", {"weight": 5}, "{name: a, region, weight: 5}"),
        ("{name: a, region: 'de'}", {"region": "no"}, "{name: a, region: 'no'}"),
        ('{name: a, region: "de"}', {"region": "fr"}, '{name: a, region: "fr"}'),
        ("{name: a, region: de}", {"region": ["no", "se"]}, '{name: a, region: ["no", se]}'),
        (
            "{name: a, address: ['2001:db8::1']}",
            {"address": ["::2", "1.2.3.4"]},
            "{name: a, address: ['::2', 1.2.3.4]}",
        ),
        ("{name: a, aeads: [30,\n    15]}", {"aeads": [17]}, "{name: a, aeads: [17]}"),
        ("{name: a,\n   port: 1}", {"port": None}, "{name: a}"),
        ("{name: a,\n   port: 1}", {"weight": 5}, "{name: a,\n   port: 1,\n   weight: 5}"),
        ("{\n    name: a, # c\n    port: 1, # d\n  }", {"port": None}, "{\n    name: a, # c\n  }"),
        ("{\n    name: a, # c\n    port: 1 # d\n  }", {"port": None}, "{\n    name: a # c\n  }"),
        ("name: a\n  port: 1 # c\n  # d", {"weight": 5}, "name: a\n  port: 1 # c\n  weight: 5\n  # d"),
        ("name: a\n  # c\n  port: 1 # d\n  # e", {"port": None}, "name: a\n  # e"),
        ("port: 1\n  name: a", {"port": None}, "name: a"),
        ("port: 1 # c\n  name: a", {"port": None}, "# c\n  name: a"),
        ("port: 1\n  # c\n  name: a", {"port": None}, "\n  # c\n  name: a"),
        ("name: a\n  address:\n  - x\n  - y # c\n  port: 1", {"address": "z"}, "name: a\n  address: z # c\n  port: 1"),
        ("name: a\n  address: # c\n    - x\n    - y", {"address": "z"}, "name: a\n  address: z # c"),
        (
            "name: a\n  address:\n    - x # c\n    - y # d\n  port: 1",
            {"address": ["::1", "y", "z"]},
            'name: a\n  address:\n    - "::1"\n    - y\n    - z # d\n  port: 1',
        ),
        ("name: a\n  region: |-\n    de\n\n  port: 1", {"region": "fr"}, "name: a\n  region: fr\n\n  port: 1"),
        ("name: a\n  region:\n  port: 1", {"region": "fr"}, "name: a\n  region: fr\n  port: 1"),
        ("name: a\n  region: # c\n  port: 1", {"region": "fr"}, "name: a\n  region: fr # c\n  port: 1"),
        ("name: a\n  region:\n    de # c", {"region": "fr"}, "name: a\n  region: fr # c"),
        ('name: a\n  "port" : 1', {"port": 2}, 'name: a\n  "port" : 2'),
    ],
)
@pytest.mark.parametrize("end", ["\n", "", "\n\n- {name: b}\n", "\nlog: {}\n"])
def test_keys_change_in_their_place(item: str, changes: dict[str, object], result: str, end: str) -> None:
    space = "" if result.startswith("\n") else " "
    assert changed(f"backends:\n- {item}{end}", "a", **changes) == f"backends:\n-{space}{result}{end}"


def test_what_is_so_already_stays_as_it_is_written() -> None:
    text = 'backends:\n- {name: "a", weight: 5, region: [ "de" ]}\n'
    assert changed(text, "a", weight=5, region=["de"], port=None) == text
    assert changed(text, "a", weight="5") == text.replace("weight: 5", 'weight: "5"')


@pytest.mark.parametrize(
    "text",
    [
        "? backends\n: - {name: a}\n  - {name: b}\n",
        "backends:\n- ? name\n  : a\n- {name: b}\n",
        "backends: [name: a, {name: b}]\n",
        "backends:\n- &x {name: a}\n- &x {name: b}\n",
    ],
)
@pytest.mark.parametrize("action", [added, lambda text: removed(text, "a"), lambda text: changed(text, "a", weight=5)])
def test_what_is_not_understood_is_right_or_refused(text: str, action: Callable[[str], str]) -> None:
    before = document(text).value["backends"]
    try:
        after = document(action(text)).value["backends"]
    except RefusedError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert after in ([*before, NEW], before[1:], [{"name": "a", "weight": 5}, before[1]])
    assert refusal in {"", "backends.yaml is written in a way that only people can edit; use an editor"}


@pytest.mark.parametrize("text", ["", "[]", "a: 1", "backends:", "backends: {}", "backends: []", "backends: a"])
def test_without_a_list_of_backends_nothing_is_edited(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^backends.yaml:1: backends: expected a list of"):
        added(text)


def test_aliases_are_told_with_their_line() -> None:
    with pytest.raises(ConfigError, match=r"^backends.yaml:2: backends\[1\]: the alias"):
        added("backends: [&a {name: a},\n  *a]")


@given(st.text() | st.sampled_from(["no", "1", "1.5", "0x1f", "2026-13-01", "1_0", "~", "true", "...", "null", ".inf"]))
def test_text_stays_text_in_every_yaml(text: str) -> None:
    for quote in "\"'":
        spelt = f"[a, {spelling.scalar(text, quote)}]"
        assert yaml.safe_load(spelt) == ["a", text]
        assert document(spelt).value == ["a", text]


WORDS = st.sampled_from(["de", "no", "192.0.2.1", "2001:db8::1", "10", "a b", "it's", "#x", "x: y", "[", "é"])
VALUES = WORDS | st.integers(0, 300) | st.lists(WORDS, min_size=1, max_size=3)
KEYS = st.sampled_from(["address", "region", "weight", "port", "aeads"])
COMMENTS = st.sampled_from(["", "", "", "  # c", " # x: [1, {"])
BETWEEN = st.lists(st.sampled_from(["", "# c", "  # d: 1", "      # - e"]), max_size=3)


def _value(draw: st.DrawFn, value: object, *, indent: str | None) -> str:
    """Spell a value in one of the ways that YAML has; in block style, too, if there is an indent."""
    if isinstance(value, list):
        items = [_value(draw, each, indent=None) for each in value]
        if indent is not None and draw(st.booleans()):
            return "".join(f"\n{indent}- {each}{draw(COMMENTS)}" for each in items)
        return draw(st.sampled_from(["[{}]", "[ {} ]", "[{},]"])).format(", ".join(items))
    if isinstance(value, int):
        return str(value)
    return draw(st.sampled_from([json.dumps(value, ensure_ascii=False), spelling.scalar(value, "'")]))


@st.composite
def backends(draw: st.DrawFn) -> list[dict[str, object]]:
    count = draw(st.integers(2, 4))
    return [{"name": f"n{index}", **draw(st.dictionaries(KEYS, VALUES, max_size=3))} for index in range(count)]


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[dict[str, object]]]:
    """Return a file and its backends."""
    wanted = draw(backends())
    lines = [*draw(BETWEEN), "pool: {names: [x]}"]
    if draw(st.booleans()):
        lines += _flow_list(draw, wanted)
    else:
        lines += ["backends:" + draw(COMMENTS), *_block_list(draw, wanted)]
    lines += [*draw(BETWEEN), *draw(st.sampled_from([[], ["log: {}"]]))]
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n"]))
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"]))), wanted


def _flow_list(draw: st.DrawFn, wanted: list[dict[str, object]]) -> list[str]:
    lines = ["backends: ["]
    for index, each in enumerate(wanted):
        comma = "," if index < len(wanted) - 1 or draw(st.booleans()) else ""
        item = _flow_mapping(draw, each) + comma
        if draw(st.booleans()):
            lines += [*draw(BETWEEN), "  " + item + draw(COMMENTS)]
        elif "#" in lines[-1]:
            lines.append(" " + item)
        else:
            lines[-1] += " " + item
    return [*lines, "  ]"] if "#" in lines[-1] or draw(st.booleans()) else [*lines[:-1], lines[-1] + "]"]


def _flow_mapping(draw: st.DrawFn, mapping: dict[str, object]) -> str:
    pairs = ", ".join(f"{key}: {_value(draw, value, indent=None)}" for key, value in mapping.items())
    return draw(st.sampled_from(["{{{}}}", "{{ {} }}", "{{{},}}"])).format(pairs)


def _block_list(draw: st.DrawFn, wanted: list[dict[str, object]]) -> list[str]:
    indent = draw(st.sampled_from(["", "  ", "    "]))
    lines = []
    for each in wanted:
        lines += draw(BETWEEN)
        if draw(st.booleans()):
            lines.append(f"{indent}- {_flow_mapping(draw, each)}{draw(COMMENTS)}")
            continue
        start = f"{indent}- "
        for key, value in each.items():
            lines += draw(BETWEEN) if not start.strip() else []
            lines.append(f"{start}{key}: {_value(draw, value, indent=' ' * len(start))}{draw(COMMENTS)}")
            start = " " * len(start)
    return "\n".join(lines).split("\n")


@given(files())
@settings(max_examples=120)
def test_any_backend_can_be_added_and_taken_out_again(case: tuple[str, list[dict[str, object]]]) -> None:
    text, wanted = case
    more = added(text)
    assert document(more).value == {**document(text).value, "backends": [*wanted, NEW]}
    assert _is_shortened(more, text)
    assert removed(more, "new") == text


@given(files(), st.data())
@settings(max_examples=120)
def test_any_backend_can_be_removed(case: tuple[str, list[dict[str, object]]], data: st.DataObject) -> None:
    text, wanted = case
    index = data.draw(st.integers(0, len(wanted) - 1))
    less = removed(text, f"n{index}")
    assert document(less).value == {**document(text).value, "backends": wanted[:index] + wanted[index + 1 :]}
    assert _is_shortened(text, less)


@given(files(), st.data())
@settings(max_examples=200)
def test_any_key_can_be_changed(case: tuple[str, list[dict[str, object]]], data: st.DataObject) -> None:
    text, wanted = case
    index = data.draw(st.integers(0, len(wanted) - 1))
    changes = data.draw(st.dictionaries(KEYS, VALUES | st.none(), max_size=3))
    fresh = changed(text, f"n{index}", **changes)
    expected = {key: value for key, value in {**wanted[index], **changes}.items() if value is not None}
    assert document(fresh).value == {
        **document(text).value,
        "backends": [*wanted[:index], expected, *wanted[index + 1 :]],
    }
    assert changed(fresh, f"n{index}", **changes) == fresh
    before, behind = _around(document(text), index)
    assert fresh.startswith(before)
    assert fresh.endswith(behind)
    absent = next(key for key in ("cookies", "key_group") if key not in expected)
    assert changed(changed(fresh, f"n{index}", **{absent: "x"}), f"n{index}", **{absent: None}) == fresh


PIECES = st.sampled_from(
    ["", "\n", "- ", "#", " ", ":", "[", "]", "{", "}", ",", "'", '"', "| ", "? ", "&a ", "!t ", "\x85"]
)


@given(st.sampled_from([BLOCK, FLOW_LINES]), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 6), PIECES)))
@settings(max_examples=200)
def test_whatever_the_file_holds_only_our_own_errors_are_raised(text: str, cuts: list[tuple[int, int, str]]) -> None:
    for start, length, piece in cuts:
        text = text[:start] + piece + text[start + length :]
    for action in (added, lambda text: removed(text, "b"), lambda text: changed(text, "b", port=None, address=["::1"])):
        with contextlib.suppress(LocalError):
            document(action(text))


def _is_shortened(text: str, less: str) -> bool:
    """Tell whether `less` is `text` with one part left out, and one comma at most besides."""
    start = next((i for i, (one, other) in enumerate(zip(text, less, strict=False)) if one != other), len(less))
    if text.endswith(less[start:]):
        return True
    return text[start] == "," and _is_shortened(text[:start] + text[start + 1 :], less)


def _around(file: Document, index: int) -> tuple[str, str]:
    """Return what stands in front of an item, and what behind it and the comments that are its own."""
    node = next(value for key, value in yamlfile.nodes(file).value if key.value == "backends")
    lines = spans.Lines(file.text)
    whole = spans.collection(lines, node)
    end = whole.entries[index].end if whole.flow else lines.end(spans.own_lines(lines, whole, index)[1])
    return file.text[: whole.entries[index].start], file.text[end:]


def test_the_sample_is_edited_in_one_place() -> None:
    text = SAMPLE.read_text()
    assert changed(text, "ntp-2", weight=30) == text.replace("    weight: 20\n", "    weight: 30\n")
    assert changed(text, "ntp-2", region=None) == text.replace("    region: [de, europe]\n", "")
    assert removed(text, "ntp-3") == text.replace(
        dedent("""\
          # The least that a backend needs.
          - {name: ntp-3, address: 192.0.2.3}

        """)
        .replace("# The", "  # The")
        .replace("- {name: ntp-3", "  - {name: ntp-3"),
        "",
    )
