"""What is different between two configurations, in the words of backends.yaml."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from ntspool.config.admission import Listen
from ntspool.config.models import Backend, Config
from ntspool.pool.view import ChangeView
from ntspool.wire.aead import Aead


def difference(before: Config, after: Config) -> tuple[ChangeView, ...]:
    """Return what `after` has that `before` has not, and the other way round, in the order of the keys."""
    return tuple(_changes("", _keys(before), _keys(after)))


def _keys(config: Config) -> dict[str, Any]:
    """Return a configuration's values by their keys, the backends by their names."""
    backends = {each.name or each.srv: each for each in config.backends}
    return {key: getattr(config, key) for key in Config.model_fields} | {"backends": backends}


def _changes(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[ChangeView]:
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        name = f"{prefix}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(f"{name}.", old, new)
        elif isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from _changes(f"{name}.", dict(old), dict(new))
        else:
            yield ChangeView(name, _spelt(old), _spelt(new))


def _spelt(value: object) -> str:  # noqa: PLR0911  -- one for each kind
    """Return a value as people read it; a backend with the keys that are stated."""
    match value:
        case None:
            return ""
        case Listen(address=address, proxy_from=()):
            return str(address)
        case BaseModel():
            stated = value.model_fields_set - {"name"} if isinstance(value, Backend) else value.model_fields_set
            return ", ".join(f"{key} {_spelt(each)}" for key, each in dict(value).items() if key in stated)
        case Aead():
            return value.label
        case tuple():
            return " ".join(map(_spelt, value)) if value else "none"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
    return str(value)
