"""The table of faults for the documentation, with the test of two suites that finds each."""

from __future__ import annotations

from typing import Any

from mutation.places import Fault

Rows = list[dict[str, Any]]


def table(faults: list[Fault], old: Rows, new: Rows, without_effect: dict[str, str]) -> str:
    """A Markdown table with a row for each fault, and the reasons why some faults have no observable effect.

    A fault on which the new suite was not run was caught by the old suite.
    """
    of_old = {row["fault"]: row for row in old}
    of_new = of_old | {row["fault"]: row for row in new}
    lines = ["| fault | file | operator | edit | caught by |", "|---|---|---|---|---|"]
    for fault in faults:
        edit = f"`{_short(fault.before)}` to `{_short(fault.after)}`"
        cells = [fault.id, f"{fault.file}:{fault.line}", fault.operator, edit]
        cell, of_before = (_cell(fault.id, rows, without_effect) for rows in (of_new, of_old))
        only_new = _caught(fault.id, of_new) and not _caught(fault.id, of_old)
        cells.append(f"{cell} (old suite: {of_before})" if only_new else cell)
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"old: {_count(faults, of_old)}; new: {_count(faults, of_new)}", ""]
    lines += [f"* {id_} changes nothing: {reason}" for id_, reason in without_effect.items()]
    return "\n".join(lines).rstrip()


def _short(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return (line if len(line) <= 40 else line[:37] + "...") or " "


def _cell(id_: str, rows: dict[str, dict[str, Any]], without_effect: dict[str, str]) -> str:
    row = rows.get(id_)
    if id_ in without_effect and not _caught(id_, rows):
        return "changes nothing"
    if row is None:
        return "not run"
    if row["verdict"] != "caught":
        return str(row["verdict"])
    test = f"`{str(row['by']).removeprefix('tests/').partition('[')[0]}`"
    return test if row["how"] == "failed" else f"{test} ({row['how']})"


def _caught(id_: str, rows: dict[str, dict[str, Any]]) -> bool:
    return id_ in rows and bool(rows[id_]["verdict"] == "caught")


def _count(faults: list[Fault], rows: dict[str, dict[str, Any]]) -> str:
    caught = sum(_caught(fault.id, rows) for fault in faults)
    return f"{caught} of {len(faults)} caught"
