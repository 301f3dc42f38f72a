"""The table of faults for the documentation: which test catches each, of two suites."""

from __future__ import annotations

from typing import Any

from mutation.places import Fault

Rows = list[dict[str, Any]]


def table(faults: list[Fault], old: Rows, new: Rows) -> str:
    """A markdown table, a row for each fault. A fault that the new suite was not run on was caught by the old one."""
    of_old = {row["fault"]: row for row in old}
    of_new = of_old | {row["fault"]: row for row in new}
    lines = ["| fault | file | operator | edit | caught by old | caught by new |", "|---|---|---|---|---|---|"]
    for fault in faults:
        edit = f"`{_short(fault.before)}` to `{_short(fault.after)}`"
        cells = [fault.id, f"{fault.file}:{fault.line}", fault.operator, edit]
        cells += [_cell(rows.get(fault.id)) for rows in (of_old, of_new)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"old: {_count(faults, of_old)}; new: {_count(faults, of_new)}"]
    return "\n".join(lines)


def _short(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return (line if len(line) <= 40 else line[:37] + "...") or " "


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not run"
    if row["verdict"] != "caught":
        return str(row["verdict"])
    test = str(row["by"]).removeprefix("tests/").partition("[")[0]
    return test if row["how"] == "failed" else f"{test} ({row['how']})"


def _count(faults: list[Fault], rows: dict[str, dict[str, Any]]) -> str:
    ran = [rows[fault.id] for fault in faults if fault.id in rows]
    return f"{sum(row['verdict'] == 'caught' for row in ran)} of {len(ran)} caught"
