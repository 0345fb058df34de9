"""Print a command of a README: the one that the comment ``<!-- command: NAME -->`` stands before."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Print the command of the name given; fail unless exactly one README has it, once."""
    if len(sys.argv) != 2:
        print("usage: readme_command.py NAME", file=sys.stderr)
        return 2
    readmes = [
        ROOT / "README.md",
        *sorted(ROOT.glob("bench/README.md")),
        *sorted(ROOT.glob("scheduler_repo/**/README.md")),
    ]
    pattern = rf"<!-- command: {re.escape(sys.argv[1])} -->\s*```(?:sh|bash|console)\n(.+?)\n```"
    found = [
        command
        for readme in readmes
        for command in re.findall(pattern, readme.read_text(encoding="utf-8"), re.DOTALL)
    ]
    if len(found) != 1:
        print(f"the READMEs have {len(found)} commands named {sys.argv[1]!r}, not 1", file=sys.stderr)
        return 1
    print(found[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
