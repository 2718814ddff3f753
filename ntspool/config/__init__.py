"""backends.yaml: read, checked, and told apart from what it should be, every mistake at once.

pydantic stays in here: what leaves are frozen, typed values.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ntspool.config import rules, values
from ntspool.config.admission import Limits, Listen
from ntspool.config.models import Backend, Certificate, Config, Dns, Gateway, Health, Keys, Log, Pool, Store
from ntspool.config.values import Endpoint, expected_word
from ntspool.config.yamlfile import Document, Mistake, Place, read, refusal, show, with_backends

__all__ = [
    "SHARED_BACKENDS",
    "Backend",
    "Certificate",
    "Config",
    "Dns",
    "Endpoint",
    "Gateway",
    "Health",
    "Keys",
    "Limits",
    "Listen",
    "Log",
    "Pool",
    "Store",
    "check",
    "load",
    "shared_backends",
]

SHARED_BACKENDS = "backends"
"""The entry of the state folder with the backends that all gateways of a cluster have."""


def load(path: Path) -> Config:
    """Return the configuration in the file at `path`.

    Where that names an etcd, the backends are those of the cluster, as soon as the state folder has a copy of them.
    Raises ConfigError with every mistake as `file:line: what and what is expected`, in the order of the lines.
    """
    document = read(path)
    copy = shared_backends(document)
    # Who may not look into the state folder gets the backends of the file.
    return check(with_backends(document, read(copy)) if copy and os.path.exists(copy) else document)


def shared_backends(document: Document) -> Path | None:
    """Return where the copy of a cluster's backends lies, be it there or not; None for a gateway that is alone."""
    if not document.at("store", "etcd"):
        return None
    try:
        state = values.file_path(document.at("state") or str(Config.model_fields["state"].default), document.folder)
    except ValueError:
        return None
    return state / SHARED_BACKENDS


def check(document: Document) -> Config:
    """Return the configuration that `document` holds; raises ConfigError as `load` does."""
    path, apart = document.path, (document.own, document.other)
    broken = list(rules.check(document))
    try:
        config = Config.model_validate(document.value, context={"folder": document.folder})
    except ValidationError as error:
        raise refusal(path, [*document.mistakes, *_wrong_values(document, error), *broken], *apart) from None
    if document.mistakes or broken:
        raise refusal(path, [*document.mistakes, *broken], *apart)
    return config


def _wrong_values(document: Document, error: ValidationError) -> Iterator[Mistake]:
    for detail in error.errors(include_url=False):
        place = detail["loc"]
        told = any(place[:length] in document.unread for length in range(len(place) + 1))
        if not told and not _is_consequence(detail):
            yield document.mistake(place, _words(detail))


def _is_consequence(detail: ErrorDetails) -> bool:
    """Tell whether pydantic reports `detail` because of another mistake: it counts only the items that are right."""
    return detail["type"] == "default_factory_not_called" or (detail["type"] == "too_short" and bool(detail["input"]))


def _words(detail: ErrorDetails) -> str:
    place = detail["loc"]
    match detail["type"]:
        case "value_error":
            return str(detail["ctx"]["error"])
        case "missing":
            return f"missing; expected {_expected_at(place)}"
        case "extra_forbidden":
            return f"unknown key; {expected_word(place[-1], _kind_at(place[:-1]).model_fields)}"
        case _:
            return f"{show(detail['input'])}; expected {_expected_at(place)}"


def _expected_at(place: Place) -> str:
    kind = _kind_at(place)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"a mapping with the keys {', '.join(kind.model_fields)}"
    return str(_kind_at(place[:-1]).model_fields[place[-1]].description)


def _kind_at(place: Place) -> Any:  # noqa: ANN401  a model, or what stands in its annotations
    kind: Any = Config
    for step in place:
        kind = get_args(kind)[0] if isinstance(step, int) else kind.model_fields[step].annotation
    return kind
