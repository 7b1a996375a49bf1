"""An invitation's gist: what, when, where and by whom, out of `text/calendar` (RFC 5545).

A reader of five properties, not of calendars: no recurrence is unrolled and no zone resolved, since the text is read by
people and models.
"""

from __future__ import annotations

import re
from itertools import islice

_FOLD = re.compile(r"\r?\n[ \t]")
_PROPERTY = re.compile(r"^([A-Z-]{1,40})((?:;[^\n:;\"]*+(?:\"[^\"\n]*+\")?+)*+):([^\n]*+)$", re.MULTILINE)
_ESCAPED = re.compile(r"\\([nN,;\\])")
_MOST_PROPERTIES = 2000
_MOST = 500
_TIMES = frozenset({"DTSTART", "DTEND", "DUE"})
_TOLD = frozenset({"SUMMARY", "LOCATION", "DESCRIPTION", "ORGANIZER", "STATUS"})
_METHODS = {"REQUEST": "Invitation", "CANCEL": "Cancelled", "REPLY": "Reply", "PUBLISH": "Event", "COUNTER": "Proposal"}


def gist(source: str) -> str:
    """Return the first event or task of a calendar as a few lines, or nothing where there is none."""
    found = _first(_properties(_FOLD.sub("", source)))
    if found is None:
        return ""
    kind = _METHODS.get("CANCEL" if found.get("STATUS") == "CANCELLED" else found.get("METHOD", ""), "Event")
    lines = {
        kind: found.get("SUMMARY", ""),
        "When": " to ".join(filter(None, (found.get("DTSTART"), found.get("DTEND") or found.get("DUE")))),
        "Where": found.get("LOCATION", ""),
        "Organizer": re.sub("^mailto:", "", found.get("ORGANIZER", ""), flags=re.IGNORECASE),
    }
    said = [f"{label}: {value}" for label, value in lines.items() if value or label == kind]
    return "\n".join([*said, found.get("DESCRIPTION", "")]).strip()


def _first(properties: list[tuple[str, str, str]]) -> dict[str, str] | None:
    """Return what is told of the first event or task, or None where there is none."""
    found: dict[str, str] = {}
    within = ""
    for name, parameters, value in properties:
        if name == "BEGIN" and value in {"VEVENT", "VTODO"} and not within:
            within = value
        elif name == "END" and value == within:
            break
        elif name == "METHOD" and not within:
            found[name] = value.upper()
        elif within and name in _TIMES:
            found.setdefault(name, _when(value, parameters))
        elif within and name in _TOLD:
            found.setdefault(name, _said(value))
    return found if within else None


def _properties(source: str) -> list[tuple[str, str, str]]:
    return [
        (match[1], match[2], match[3].strip())
        for match in islice(_PROPERTY.finditer(source.replace("\r", "")), _MOST_PROPERTIES)
    ]


def _said(value: str) -> str:
    unescaped = _ESCAPED.sub(lambda found: {"n": " ", "N": " "}.get(found[1], found[1]), value[:_MOST])
    return " ".join(unescaped.split())


def _when(value: str, parameters: str) -> str:
    """Return `20261104T184200Z` as `2026-11-04 18:42 UTC`."""
    moment = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?", value)
    if moment is None:
        return _said(value)
    year, month, day, hour, minute, utc = moment.groups()
    zone = re.search(r";TZID=\"?([^;\"]+)", parameters)
    told = f"{year}-{month}-{day}"
    if hour:
        told += f" {hour}:{minute}" + (" UTC" if utc else f" {zone[1]}" if zone else "")
    return told
