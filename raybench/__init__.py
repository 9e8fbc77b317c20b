"""raybench: choose and size an inference server, with numbers that can be defended."""

TYPE_CHECKING = False  # as in typing, which is not imported: every process of raybench imports this file
if TYPE_CHECKING:
    from pathlib import Path

    from raybench.report.dataframes import Frames


def load(folder: "str | Path") -> "Frames":
    """A results folder as pandas frames, finished or not; raises ResultsError where it is none."""
    from raybench.report import dataframes

    return dataframes.load(folder)
