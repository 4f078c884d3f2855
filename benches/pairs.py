"""Compares two builds of berth. Each round measures both builds, one directly after the other, and the order
alternates. A ratio is that of the new build to the old one in the same round, so that above 1.00 the new one is
better. A row is worse if the whole interval of its ratios, least to most, lies below 0.95: the noise of one
machine moves single ratios further than a change of code does."""
from table import median, spread

PAIRS_MIN = 9                # fewer pairs show a ratio, but do not make a row worse
WORSE_BELOW = 0.95
OLD, NEW = "old", "new"
# A disk drifts by far more than builds differ: these rows are shown, and not judged.
NOT_JUDGED = ("small_up_disk", "slow_disk", "two_disks")


def rows(table):
    """The rows of `table` without the build at their end."""
    return [label.removesuffix(f", {OLD}") for label in table.measured() if label.endswith(f", {OLD}")]


def ratios(table, row, key):
    """How many times better the new build is, in each round."""
    pairs = zip(table.rows[f"{row}, {OLD}"], table.rows[f"{row}, {NEW}"])
    # Of rates more is better; of all else, such as seconds and bytes, less is.
    of = (lambda old, new: new / old) if key.endswith("rate") else (lambda old, new: old / new)
    return [of(old[key], new[key]) for old, new in pairs if old.get(key) and new.get(key)]


def is_worse(name, found):
    return name not in NOT_JUDGED and len(found) >= PAIRS_MIN and max(found) < WORSE_BELOW


def markdown(name, table):
    """The table, with a row for each measured figure."""
    lines = [f"**{table.title}**", "", "| | | old | new | new to old: median (least–most) | |", "|---|---|---|---|---|---|"]
    for row in rows(table):
        for number, (head, key, digits) in enumerate(table.columns):
            found = ratios(table, row, key)
            if not found:
                continue
            old, new = (f"{median([round[key] for round in table.rows[f'{row}, {build}']]):,.{digits}f}" for build in (OLD, NEW))
            verdict = "worse" if number == 0 and is_worse(name, found) else ""
            lines.append(f"| {row} | {head} | {old} | {new} | {spread(found, 2)} | {verdict} |")
    # Other notes are about other servers.
    notes = [note for note in table.notes if "not measured" in note.lower()]
    return "\n".join(lines + [f"\n{note}" for note in notes]) + "\n"


def worse_rows(name, table):
    key = table.columns[0][1]
    return [f"{table.title}: {row}" for row in rows(table) if is_worse(name, ratios(table, row, key))]
