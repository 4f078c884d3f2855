"""Helpers of the package tests: run commands, and check and print expectations."""

import shutil, subprocess, sys

PASSWORD = "correct horse"
# The client is first, because the server then replaces none of its files.
PACKAGES = ["berth", "berthd"]
# The last version with both programs in one package.
BEFORE = "0.1.0-1"
NEWER = "99.0.0-1"


def run(*command, check=True, **options):
    options.setdefault("text", True)
    done = subprocess.run([str(word) for word in command], capture_output=True, **options)
    if check and done.returncode != 0:
        sys.exit(f"FAILED with {done.returncode}: {command}\n{done.stdout}{done.stderr}")
    return done


def expect(what, holds):
    if not holds:
        sys.exit(f"FAILED: {what}")
    print(f"  {what}", flush=True)


def has(program):
    if shutil.which(program) is None:
        print(f"  SKIPPED: {program} is missing")
        return False
    return True
