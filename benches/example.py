#!/usr/bin/env python3
"""Runs the commands of the README's "Five minutes" and writes what they print in the place of what stands there.

    benches/example.py                           # builds for release
    benches/example.py --programs target/debug   # programs that are there
    benches/example.py --check                   # fails if the README shows something else, numbers aside

The commands are those of the README. They meet a server of their own in a temporary directory, which is removed."""
import argparse, itertools, os, pathlib, re, subprocess, sys, tempfile
import record

README = record.ROOT / "README.md"
BLOCK = re.compile(r"(## Five minutes\n.*?```console\n)(.*?)(```\n)", re.S)
BIG_BYTES = 52_428_800


def write_files(directory):
    pathlib.Path(directory, "holiday.mp4").write_bytes(os.urandom(BIG_BYTES))
    for name, size in (("beach.jpg", 140_000), ("harbour.jpg", 212_000), ("storm.jpg", 262_400)):
        path = pathlib.Path(directory, "photos", name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(size))


def carried_out(commands, programs, directory):
    """Each command with what it printed."""
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": directory, "LANG": "C.UTF-8", "TZ": "UTC"}
    server, said = record.start_server(programs, directory, environment)
    try:
        environment["BERTH_PASSWORD"] = re.search(r"^password: (\S+)", said, re.M)[1]
        address = re.search(r"demo@(127\.0\.0\.1:\d+)", said)[1]
        subprocess.run(["berth", "--accept-new", f"demo@{address}", "pwd"], env=environment, check=True, capture_output=True)
        for command in commands:
            script = f'b() {{ berth demo@{address} "$@"; }}\n{command}'
            done = subprocess.run(["bash", "-c", script], cwd=directory, env=environment, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            yield f"$ {command}\n{done.stdout}"
    finally:
        server.terminate()
        server.wait()


def masked(shown):
    """Its lines, without what differs from run to run: words with digits, and how many spaces are beside them."""
    return [" ".join("#" if re.search(r"[0-9]", word) else word for word in re.sub(r"([A-Z][a-z]{2}) +(?=[0-9])", "#", line).split())
            for line in shown.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", metavar="DIR", help="where berthd and berth are")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args()
    programs = pathlib.Path(options.programs).resolve() if options.programs else record.build()
    text = README.read_text()
    commands = re.findall(r"^\$ (.*)$", BLOCK.search(text)[2], re.M)
    with tempfile.TemporaryDirectory(prefix="berth-example-") as directory:
        write_files(directory)
        shown = "".join(carried_out(commands, programs, directory))
    if directory in shown:
        sys.exit(f"{directory} would be in the README:\n{shown}")
    if options.check:
        there = BLOCK.search(text)[2]
        differing = [pair for pair in itertools.zip_longest(masked(there), masked(shown)) if pair[0] != pair[1]]
        for old, new in differing:
            print(f"README: {old}\nprinted: {new}", file=sys.stderr)
        sys.exit(bool(differing))
    README.write_text(BLOCK.sub(lambda match: match[1] + shown + match[3], text, count=1))
    print(shown, end="")


if __name__ == "__main__":
    main()
