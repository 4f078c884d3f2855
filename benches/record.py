#!/usr/bin/env python3
"""Records a session with the real programs on a terminal of 80 columns, typed key by key, as an animated SVG.

    benches/record.py                           # builds for release and writes benches/session.svg
    benches/record.py --programs target/debug   # programs that are there

What is shown is what they printed, when they printed it; only pauses are shortened. A server of its own on
a free port is set up in a temporary directory, and removed."""
import argparse, codecs, fcntl, html, os, pathlib, pty, re, select, shutil, signal, struct, subprocess, sys, tempfile, termios, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS, ROWS = 80, 24
KEY_S, READ_S, PAUSE_MOST_S, END_S = .05, 1.2, 1.6, 5
FRAME_S = .06                    # what changes within a frame is one change
PATIENCE_S = 60
BIG_MIB = 400


# ---- The terminal ------------------------------------------------------------------------------

class Screen:
    """As much of a VT100 as the programs use. Lines that scroll away stay: a row is an index into all."""

    SEQUENCE = re.compile(r"\x1b\[([?>=]?)([\d;]*)([@-~])")

    def __init__(self):
        self.lines, self.top, self.row, self.column = [[]], 0, 0, 0
        self.style, self.rest = "", ""

    def feed(self, text):
        text, self.rest = self.rest + text, ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self._put(text[at])
                at += 1
            elif match := self.SEQUENCE.match(text, at):
                self._control(*match.groups())
                at = match.end()
            elif len(text) - at < 16:            # the rest of it may come yet
                self.rest = text[at:]
                return
            else:
                at += 1

    def _put(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._move_down()
        elif char == "\b":
            self.column = max(0, self.column - 1)
        elif char >= " ":
            if self.column == COLUMNS:
                self.column = 0
                self._move_down()
            line = self.lines[self.row]
            line.extend([(" ", "")] * (self.column + 1 - len(line)))
            line[self.column] = (char, self.style)
            self.column += 1

    def _move_down(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])
        self.top = max(self.top, self.row - ROWS + 1)

    def _control(self, private, digits, final):
        numbers = [int(number) if number else 0 for number in digits.split(";")]
        many = max(1, numbers[0])
        if private:
            return
        if final == "m":
            self._set_style(numbers)
        elif final == "A":
            self.row = max(self.top, self.row - many)
        elif final == "B":
            self.row = min(len(self.lines) - 1, self.row + many)
        elif final == "C":
            self.column = min(COLUMNS - 1, self.column + many)
        elif final == "D":
            self.column = max(0, self.column - many)
        elif final == "G":
            self.column = many - 1
        elif final == "K" and numbers[0] == 2:
            self.lines[self.row] = []
        elif final in "KJ" and numbers[0] == 0:
            del self.lines[self.row][self.column:]
            if final == "J":
                del self.lines[self.row + 1:]

    def _set_style(self, numbers):
        for number in numbers:
            if number == 0:
                self.style = ""
            elif number == 1:
                self.style = f"{self.style} b".strip()
            elif 30 <= number <= 37 or 90 <= number <= 97:
                kept = [name for name in self.style.split() if name == "b"]
                self.style = " ".join([*kept, f"c{number % 10}"])

    def text(self):
        return "\n".join("".join(char for char, _ in line).rstrip() for line in self.lines)

    def snapshot(self):
        """Each line as runs of one style: (column, style, text); and the first line that is seen."""
        lines = []
        for number, line in enumerate(self.lines):
            cells = list(line)
            if number == self.row:
                cells.extend([(" ", "")] * (self.column + 1 - len(cells)))
                if self.column < len(cells) and cells[self.column][0] == " ":
                    cells[self.column] = ("█", "k")
            lines.append(runs(cells))
        return tuple(lines), self.top


def runs(cells):
    found = []
    for column, (char, style) in enumerate(cells):
        if found and found[-1][1] == style:
            found[-1] = (found[-1][0], style, found[-1][2] + char)
        else:
            found.append((column, style, char))
    return tuple((column, style, text.rstrip()) for column, style, text in found if text.strip())


class Terminal:
    """A program in a pseudo-terminal, and all it showed: (seconds, snapshot)."""

    def __init__(self, argv, directory, environment):
        self.screen, self.frames = Screen(), []
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe(argv[0], argv, environment)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def watch(self, seconds, until=lambda: False):
        """Takes what is shown for so long; whether `until` came true."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return False
            if select.select([self.master], [], [], min(left, .1))[0]:
                try:
                    piece = os.read(self.master, 65536)
                except OSError:
                    piece = b""
                if not piece:
                    sys.exit(f"the program ended:\n{self.screen.text()}")
                self.screen.feed(self.decoder.decode(piece))
                self.frames.append((time.monotonic(), self.screen.snapshot()))
        return True

    def expect(self, pattern):
        """Waits until the last line that is not empty matches."""
        def seen():
            lines = self.screen.text().rstrip("\n").split("\n")
            return re.search(pattern, lines[-1])
        if not self.watch(PATIENCE_S, seen):
            sys.exit(f"did not see {pattern!r}:\n{self.screen.text()}")

    def type(self, text):
        for key in text:
            os.write(self.master, key.encode())
            self.watch(KEY_S)

    def run(self, command, prompt):
        """Types a command, and waits for the prompt after what it says."""
        self.type(command)
        self.watch(.3)
        before = self.screen.row
        os.write(self.master, b"\r")
        if not self.watch(PATIENCE_S, lambda: self.screen.row > before):
            sys.exit(f"no answer to {command!r}:\n{self.screen.text()}")
        self.expect(prompt)
        self.watch(READ_S)

    def close(self):
        try:
            os.kill(self.pid, signal.SIGHUP)
        except OSError:
            pass
        os.close(self.master)
        os.waitpid(self.pid, 0)


# ---- The picture -------------------------------------------------------------------------------

CELL_W, CELL_H, MARGIN = 8.4, 18, 16
STYLE = """text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d5dbe3;white-space:pre}
.b{font-weight:bold}.c0{fill:#6b7480}.c1{fill:#ff7b72}.c2{fill:#7ee787}.c3{fill:#e3b341}.c4{fill:#79c0ff}.c5{fill:#d2a8ff}.c6{fill:#76e3ea}.c7{fill:#fff}
.k{fill:#8b949e}.h{visibility:hidden}"""


def shorten(frames):
    """Frames from 0 on, of which those that nobody could tell apart are one, without long pauses."""
    out, clock, last = [], 0, frames[0][0]
    for at, shown in frames:
        clock += min(at - last, PAUSE_MOST_S)
        last = at
        if out and clock - out[-1][0] < FRAME_S:
            out[-1] = (out[-1][0], shown)
        elif not out or out[-1][1] != shown:
            out.append((clock, shown))
    return out, clock + END_S


def spans(frames, end):
    """For each line how long it looked how: (line, runs, from, to)."""
    found, now = [], {}
    for at, (lines, _) in frames:
        for number in range(max(len(lines), len(now))):
            look = lines[number] if number < len(lines) else ()
            old, since = now.get(number, ((), at))
            if look != old:
                if old:
                    found.append((number, old, since, at))
                now[number] = (look, at)
    return found + [(number, look, since, end) for number, (look, since) in now.items() if look]


def svg_text(number, look, classes):
    parts = []
    for column, style, text in look:
        kind = f' class="{style}"' if style else ""
        parts.append(f'<tspan x="{MARGIN + column * CELL_W:g}"{kind}>{html.escape(text, False)}</tspan>')
    return f'<text y="{MARGIN + number * CELL_H + 13}"{classes}>{"".join(parts)}</text>'


def svg(frames, end):
    width, height = round(COLUMNS * CELL_W + 2 * MARGIN), ROWS * CELL_H + 2 * MARGIN
    percent = lambda at: f"{100 * at / end:.2f}%"
    rules, texts, names = [], [], {}
    for number, look, since, to in spans(frames, end):
        name = names.setdefault((percent(since), percent(to)), f"a{len(names)}")
        texts.append(svg_text(number, look, f' class="{name}{"" if to == end else " h"}"'))
    for (since, to), name in names.items():
        shown = f"{since}{{visibility:visible}}" + ("" if to == "100.00%" else f"{to}{{visibility:hidden}}")
        rules.append(f"@keyframes {name}{{0%{{visibility:hidden}}{shown}}}.{name}{{animation-name:{name}}}")
    scrolls, top = ["0%{transform:none}"], 0
    for at, (_, first) in frames:
        if first != top:
            top = first
            scrolls.append(f"{percent(at)}{{transform:translateY({-top * CELL_H}px)}}")
    rules.append(f"@keyframes s{{{''.join(scrolls)}}}.s{{animation-name:s}}text,.s{{animation-duration:{end:.2f}s;animation-timing-function:step-end;animation-iteration-count:infinite}}")
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" xml:space="preserve">',
        "<title>A session with berth</title>",
        f"<style>{STYLE}", "@media (prefers-reduced-motion:no-preference){", *rules, "}</style>",
        f'<clipPath id="c"><rect y="{MARGIN}" width="{width}" height="{ROWS * CELL_H}"/></clipPath>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#12171e"/>',
        f'<g clip-path="url(#c)"><g class="s" transform="translate(0 {-top * CELL_H})">', *texts, "</g></g></svg>", ""])


# ---- The story ---------------------------------------------------------------------------------

def build():
    subprocess.run(["cargo", "build", "--release", "--bins"], cwd=ROOT, check=True)
    return ROOT / "target/release"


def write_files(directory):
    """A large file, and a tree."""
    with open(f"{directory}/holiday.mp4", "wb") as f:
        for _ in range(BIG_MIB):
            f.write(os.urandom(1 << 20))
    for name, size in (("beach.jpg", 340_000), ("harbour.jpg", 512_000), ("2025/lighthouse.jpg", 801_000), ("2025/storm.jpg", 460_000)):
        path = pathlib.Path(directory, "photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))


def tell(terminal, address, password):
    prompt = r"> *$"
    terminal.expect(r"^\$")
    terminal.watch(.6)
    terminal.run(f"berth demo@{address}", r"\] *$")
    terminal.run("yes", r"^password.*: *$")
    terminal.watch(.4)
    os.write(terminal.master, password.encode())
    terminal.run("", prompt)
    terminal.run("put holiday.mp4", prompt)
    terminal.run("put holiday.mp4", prompt)
    terminal.run("mirror photos backup", prompt)
    terminal.run("ls -l", prompt)
    terminal.type("get holiday.mp4 copy.mp4")
    os.write(terminal.master, b"\r")
    terminal.expect(r"\b[3-9]\d\.\d+ ?%")
    os.write(terminal.master, b"\x03")
    terminal.expect(prompt)
    terminal.watch(READ_S)
    terminal.run("get holiday.mp4 copy.mp4", prompt)
    terminal.run("quota", prompt)


def start_server(programs, directory, environment):
    """A quickstart in `directory`, and what it said until it served."""
    server = subprocess.Popen([f"{programs}/berthd", "quickstart", "--listen", "127.0.0.1:0"], cwd=directory, env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = ""
    while not re.search(r"demo@127\.0\.0\.1:\d+", said):
        line = server.stdout.readline()
        if not line:
            sys.exit(f"berthd did not start:\n{said}")
        said += line
    return server, said


def record(programs):
    with tempfile.TemporaryDirectory(prefix="berth-record-") as directory:
        write_files(directory)
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": directory, "TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": "$ ",
                       "LS_COLORS": "di=1;34:*.jpg=35:*.mp4=35", "TZ": "UTC"}
        server, said = start_server(programs, directory, environment)
        try:
            found = re.search(r"demo@(127\.0\.0\.1:\d+)", said)
            password = re.search(r"^password: (\S+)", said, re.MULTILINE)[1]
            terminal = Terminal(["bash", "--norc", "--noprofile", "-i"], directory, environment)
            try:
                tell(terminal, found[1], password)
            finally:
                terminal.close()
            shown = terminal.screen.text()
            for secret in (password, directory, os.uname().nodename):
                if secret in shown:
                    sys.exit(f"{secret!r} would be in the picture")
            return terminal
        finally:
            server.terminate()
            server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", metavar="DIR", help="where berthd and berth are")
    parser.add_argument("--output", metavar="FILE", default=ROOT / "benches/session.svg")
    options = parser.parse_args()
    programs = pathlib.Path(options.programs).resolve() if options.programs else build()
    terminal = record(programs)
    picture = svg(*shorten(terminal.frames))
    pathlib.Path(options.output).write_text(picture)
    print(terminal.screen.text())
    print(f"{options.output}: {len(picture) / 1000:.0f} KB")


if __name__ == "__main__":
    main()
