#!/usr/bin/env python3
"""Make the man pages beside this script out of the manual and the commands' own help; go-md2man writes the roff.

    python docs/man/build.py

Each page's first line holds a digest of what it was made of, by which a test finds out whether it is up to date.
"""

import hashlib
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from ntspool import __version__
from ntspool.app.cli import cli

HERE = Path(__file__).parent
PAGES = ("ntspool.8", "ntspool.yaml.5", "ntspool-agent.8")

_LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:)([^)#]*)[^)]*\)")
_ROW = re.compile(r"^\| `([^`]+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)
_TYPES: Sequence[tuple[type[click.ParamType], str]] = (
    (click.Path, "FILE"),
    (click.IntRange, "NUMBER"),
    (click.FloatRange, "NUMBER"),
    (click.types.FloatParamType, "NUMBER"),
)


def source(page: str) -> str:
    """Return a page in Markdown, with what is made from elsewhere in it."""
    text = (HERE / f"{page}.md").read_text()
    parts: Mapping[str, str] = {
        "@VERSION@": __version__,
        "@COMMANDS@": "\n".join(commands(cli, "ntspool", without="agent")),
        "@AGENT@": "\n".join(commands(cli.commands["agent"], "ntspool agent")),
        "@KEYS@": keys((HERE.parent / "configuration.md").read_text()),
    }
    for word, part in parts.items():
        text = text.replace(word, part)
    return text


def digest(page: str) -> str:
    """Return the line that says what a page was made of."""
    return f'.\\" source sha256 {hashlib.sha256(source(page).encode()).hexdigest()}\n'


def commands(command: click.Command, name: str, without: str = "") -> Iterator[str]:
    """Yield a section for a command, and for each of those below it but one."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield f"### {_synopsis(command, name)}\n\n{_prose(command.help or '')}\n"
        yield from filter(None, map(_option, command.params))
    if isinstance(command, click.Group):
        for each in sorted(command.commands.keys() - {without}):
            yield from commands(command.commands[each], f"{name} {each}")


def keys(text: str) -> str:
    """Return the page on configuration as lists of definitions in place of its tables."""
    _, _, text = text.partition("\n\n")
    text = _ROW.sub(_definition, text.replace("\n## ", "\n### "))
    text = re.sub(r"^\| key.*\n\|---.*\n", "", text, flags=re.MULTILINE)
    return _LINK.sub(_page, text)


def _definition(row: re.Match[str]) -> str:
    key, default, meaning = row.groups()
    said = "Required." if default == "required" else f"Default: {default}."
    return f"**{key}**\n: {meaning[:1].upper()}{meaning[1:]}{'. ' if meaning else ''}{said}\n"


def _page(link: re.Match[str]) -> str:
    text, path = link.groups()
    if not path:
        return text
    return f"`{path.removeprefix('../')}`" if path.startswith("..") else f"`docs/{path}`"


def _synopsis(command: click.Command, name: str) -> str:
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    words = [each.metavar or str(each.name).upper() for each in arguments]
    return " ".join(
        [name, *(word if each.required else f"[{word}]" for word, each in zip(words, arguments, strict=True))]
    )


def _option(option: click.Parameter) -> str:
    if not isinstance(option, click.Option):
        return ""
    metavar = "" if option.is_flag else f" *{_metavar(option)}*"
    said = _prose(option.help or "")
    if option.show_default and "[default" not in said:
        said = f"{said}{' ' if said else ''}Default: {option.default}."
    names = sorted([*option.opts, *option.secondary_opts], key=len, reverse=True)
    return f"**{', '.join(names)}**{metavar}\n: {said or 'See the manual.'}\n"


def _metavar(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return next((word for kind, word in _TYPES if isinstance(option.type, kind)), "VALUE")


def _prose(text: str) -> str:
    paragraphs = (" ".join(each.split()) for each in text.split("\n\n"))
    return "\n\n".join(paragraphs).replace("<(", r"\<(")


def main() -> None:
    """Write every page."""
    for page in PAGES:
        made = subprocess.run(["go-md2man"], input=source(page), stdout=subprocess.PIPE, text=True, check=True)  # noqa: S607
        (HERE / page).write_text(digest(page) + made.stdout)


if __name__ == "__main__":
    main()
