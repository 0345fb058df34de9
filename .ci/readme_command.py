"""Print a command of README.md: the one that the comment ``<!-- command: NAME -->`` stands before."""

import re
import sys
from pathlib import Path


def main() -> int:
    """Print the command of the name given; fail if the README does not have exactly one of that name."""
    if len(sys.argv) != 2:
        print("usage: readme_command.py NAME", file=sys.stderr)
        return 2
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    pattern = rf"<!-- command: {re.escape(sys.argv[1])} -->\s*```(?:sh|bash|console)\n(.+?)\n```"
    found = re.findall(pattern, readme, re.DOTALL)
    if len(found) != 1:
        print(f"README.md has {len(found)} commands named {sys.argv[1]!r}, not 1", file=sys.stderr)
        return 1
    print(found[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
