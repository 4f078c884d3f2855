"""A table of docs/benchmarks.md: rows of values of several rounds."""


class Table:
    """Rows of values of several rounds; the first column is compared with the reference's."""

    def __init__(self, title, columns, reference="berth"):
        self.title, self.columns, self.reference = title, columns, reference
        self.rows, self.notes = {}, []

    def expect(self, labels):
        """The order of the rows."""
        self.rows.update((label, []) for label in labels)

    def add(self, label, **values):
        self.rows[label].append(values)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def measured(self):
        return {label: rounds for label, rounds in self.rows.items() if rounds}

    def ratio(self, label):
        key = self.columns[0][1]
        pairs = zip(self.rows[label], self.rows.get(self.reference, []))
        ratios = [mine[key] / reference[key] for mine, reference in pairs if reference[key]]
        return f"{median(ratios):.2f}" if ratios else "—"

    def markdown(self):
        heads = ["", *(head for head, _, _ in self.columns), "of berth's"]
        lines = [f"**{self.title}**", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for label, rounds in self.measured().items():
            cells = [spread([r[key] for r in rounds if key in r], digits) for _, key, digits in self.columns]
            lines.append("| " + " | ".join([label, *cells, self.ratio(label)]) + " |")
        return "\n".join(lines + [f"\n{note}" for note in self.notes]) + "\n"


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def spread(values, digits):
    if not values:
        return "—"
    text = f"{median(values):,.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"
