"""What both ways to try the package share: commands that succeed, and expectations that are said."""

import shutil, subprocess, sys

PASSWORD = "correct horse"
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
        print(f"  SKIPPED, for want of {program}")
        return False
    return True
