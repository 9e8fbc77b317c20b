"""Files of a results folder that numbers should come from and that cannot be trusted."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from raybench.results.atomic_files import first_line
from raybench.results.sealed_json import OtherSchemaError

_ROUND = re.compile(r"r\d+-")


@dataclass(frozen=True, kw_only=True)
class DamagedFile:
    """A file by its path in the results folder, and what is wrong with it."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"

    @property
    def trial(self) -> str | None:
        """The id of the trial that the file is of; None where it is of the whole run."""
        path = PurePosixPath(self.path)
        return path.stem if path.parent.name else None

    @property
    def cell(self) -> str | None:
        """The id of the cell that its trial is of."""
        return self.trial and _ROUND.sub("", self.trial, count=1)


@dataclass(frozen=True, kw_only=True)
class OtherSchemaFile(DamagedFile):
    """A file that another version of raybench wrote, and may read."""


def damaged_file(folder: Path, path: Path, error: Exception) -> DamagedFile:
    """What an error says of a file of the folder."""
    kind = OtherSchemaFile if isinstance(error, OtherSchemaError) else DamagedFile
    return kind(path=path.relative_to(folder).as_posix(), reason=first_line(error).removeprefix(f"{path}: "))
