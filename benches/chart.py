#!/usr/bin/env python3
"""Draws benches/figures.svg from what compare.py measured.

    benches/chart.py [figures.json [figures.svg]]    # those in benches/ unless given

A panel for each family of rows, a bar for each server: the median of its rounds. A family that was not
measured has no panel."""
import html, json, pathlib, sys
from table import median

HERE = pathlib.Path(__file__).resolve().parent

# A panel: what its table's title says, and does not; what it is called; the value, unit and digits; what is good.
MORE, LESS = "more is better", "less is better"
PANELS = [
    (("Download of", "receiver discards"), ("TLS",), "Download", "rate", "GB/s", 2, MORE),
    (("Upload of",), ("TLS",), "Upload", "rate", "GB/s", 2, MORE),
    (("Download of", "TLS", "receiver discards"), (), "Download over TLS", "rate", "GB/s", 2, MORE),
    (("Upload of", "TLS"), (), "Upload over TLS", "rate", "GB/s", 2, MORE),
    (("4 KiB down",), (), "Small files down", "rate", "files/s", 0, MORE),
    (("4 KiB up", "tmpfs"), (), "Small files up", "rate", "files/s", 0, MORE),
    (("Idle sessions",), ("TLS",), "Memory of an idle session", "each", "KiB", 1, LESS),
    (("Logins",), ("TLS",), "Logins", "rate", "per s", 0, MORE),
    (("beside 8 greedy downloads",), (), "A request beside 8 downloads", "p99", "p99 ms", 2, LESS),
]
WIDTH, COLUMN_W, GAP, MARGIN = 800, 376, 16, 16
LABEL_W, VALUE_W, BAR_H, ROW_H, HEAD_H = 112, 58, 12, 18, 30
STYLE = """text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1f2328}
.h{font-weight:600;font-size:13px}.q,.n{fill:#59636e}.q{font-size:11px}.e{text-anchor:end}.o{font-weight:600}
rect{fill:#aeb8c4}.o{fill:#0a66c2}.g{fill:#fff}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.q,.n{fill:#9198a1}rect{fill:#57606a}.o{fill:#58a6ff}.g{fill:#0d1117}}"""


def is_compared(label, notes):
    """Bare loops are no servers, berth's other rows are for the tables, and without a login there is none to be fast."""
    return not label.startswith(("bare loop", "berth,")) and not any(note.startswith(f"{label} has no ") for note in notes)


def panels(tables):
    """(title, unit, digits, [(label, value)]) of those that were measured."""
    for needed, without, title, key, unit, digits, better in PANELS:
        for name, table in tables.items():
            if all(part in name for part in needed) and not any(part in name for part in without):
                rows = [(label, median([r[key] for r in rounds if key in r])) for label, rounds in table["rows"].items()
                        if is_compared(label, table["notes"]) and any(key in r for r in rounds)]
                if rows:
                    rows.sort(key=lambda row: row[1], reverse=better is MORE)
                    yield title, f"{unit}; {better}", digits, rows


def text(x, y, said, kind=""):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{kind}>{html.escape(said)}</text>'


def draw_panel(x, y, title, note, digits, rows):
    longest = max(value for _, value in rows)
    parts = [text(x, y + 14, title, "h"), text(x + COLUMN_W, y + 14, note, "q e")]
    room = COLUMN_W - LABEL_W - VALUE_W
    for number, (label, value) in enumerate(rows):
        top = y + HEAD_H + number * ROW_H
        ours = "o" if label.startswith("berth") else ""
        kind = ' class="o"' if ours else ""
        length = max(1, value / longest * room) if longest else 1
        parts.append(text(x + LABEL_W - 8, top + 10, label, f"e {ours}".strip()))
        parts.append(f'<rect x="{x + LABEL_W}" y="{top}" width="{length:.1f}" height="{BAR_H}" rx="1.5"{kind}/>')
        parts.append(text(x + LABEL_W + length + 5, top + 10, f"{value:,.{digits}f}", ours or "n"))
    return parts


def svg(measured):
    found, parts, y = list(panels(measured["tables"])), [], MARGIN
    for pair in (found[at:at + 2] for at in range(0, len(found), 2)):
        for side, panel in enumerate(pair):
            parts += draw_panel(MARGIN + side * (COLUMN_W + GAP), y, *panel)
        y += HEAD_H + max(len(rows) for *_, rows in pair) * ROW_H + GAP
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">',
                      "<title>berth beside other servers</title>", f"<style>{STYLE}</style>",
                      # A ground of its own: a page may be light where the system prefers dark.
                      f'<rect width="{WIDTH}" height="{y}" rx="8" class="g"/>', *parts, "</svg>", ""])


def draw(source, target):
    pathlib.Path(target).write_text(svg(json.loads(pathlib.Path(source).read_text())))


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:3]))
    draw(given.get(0, HERE / "figures.json"), given.get(1, HERE / "figures.svg"))
