"""The options of sampling as a user types them, on a command line or in a conversation."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Any

from charrnn.errors import UsageError
from charrnn.options import Option, settings_from
from charrnn.sampling.registry import FILTERS, filter_settings
from charrnn.sampling.settings import SampleSettings
from charrnn.units import shortened

ESCAPED = ("stop", "ban", "bias", "dry_sequence_breaker")


def sample_settings(given: Mapping[str, Any]) -> SampleSettings:
    """Return the settings that were given, with defaults for the rest. Names of other classes are ignored.

    Raises UsageError for a value out of bounds, and if --greedy makes another option meaningless.
    """
    settings = settings_from(SampleSettings, {name: _unescaped(name, value) for name, value in given.items()})
    if settings.greedy:
        _check_greedy(settings, given)
    return settings


def unescaped(text: str) -> str:
    r"""Replace the escapes that a shell passes on, such as `\n`. Other backslashes stay."""
    escape = r"\\(?:[ntr\\]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})"
    return re.sub(escape, lambda match: codecs.decode(match[0], "unicode_escape"), text)


def parse_value(option: Option, text: str) -> Any:
    """Return the value of an option that was typed as text. Raises UsageError where it is of another type."""
    if text == "off":
        if shown_value(option.default) == "off":
            return option.default
        if (off := next((one.off for one in filter_settings() if one.name == option.name), None)) is not None:
            return off
    if option.value_type is bool:
        if text != "on":
            raise UsageError(f"`{option.name}` must be on or off, not {shortened(text)}")
        return True
    if option.repeatable:
        return (_unescaped(option.name, text),)
    if option.value_type is str or option.ranged:
        return _unescaped(option.name, text)
    try:
        return option.value_type(text)
    except ValueError:
        kind = "a whole number" if option.value_type is int else "a number"
        raise UsageError(f"`{option.name}` must be {kind}, not {shortened(text)}") from None


def shown_value(value: Any) -> str:
    """Return the value of an option as it is typed."""
    if value is None or (isinstance(value, bool | str | tuple) and not value):
        return "off"
    if value is True:
        return "on"
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _unescaped(name: str, value: Any) -> Any:
    if name not in ESCAPED:
        return value
    return [unescaped(one) for one in value] if isinstance(value, list) else unescaped(value)


def _check_greedy(settings: SampleSettings, given: Mapping[str, Any]) -> None:
    """Raise UsageError if --greedy makes another option meaningless."""
    options = SampleSettings.options()
    for one in (one for entry in FILTERS.values() if not entry.greedy for one in entry.settings):
        if one.name in given:
            flag = options[one.name].flag
            raise UsageError(f"--greedy and {flag} exclude each other", "greedy always takes the most likely character")
    if settings.num > 1:
        raise UsageError("--greedy always generates the same text", "leave out --num or --greedy")
