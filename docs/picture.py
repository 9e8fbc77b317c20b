"""Draw what `raybench report DIR` prints, for the README: python docs/picture.py DIR docs/run.svg"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from raybench.report import report
from raybench.report.text import print_report

_COLUMNS = 118  # room for every column


def main(folder: Path, out: Path) -> None:
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    print_report(console, report(folder), folder)
    svg = console.export_svg(title="raybench run")
    out.write_text(re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.S), encoding="utf-8")  # no font from the network


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
