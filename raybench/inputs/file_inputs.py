"""What a user names by --input: files for some inputs or all, and what is made for the rest."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from raybench.config import ConfigError
from raybench.inputs.batch_axis import has_item_axis, is_image, required
from raybench.inputs.declared_inputs import BoundInputs, DeclaredInputs
from raybench.inputs.file_locations import InputFileError
from raybench.inputs.photo_source import Images
from raybench.inputs.random_values import NUMPY_TYPES
from raybench.inputs.source import BoundSource, TensorSource
from raybench.inputs.stored_inputs import StoredInputs
from raybench.inputs.stored_items import SkippedRows, StoredItems, stored_values
from raybench.inputs.table_files import TableFiles
from raybench.inputs.table_inputs import TableInputs, check_columns
from raybench.inputs.table_rows import RowReader
from raybench.inputs.tensors import described
from raybench.inputs.wanted_items import wanted_inputs, wanted_outputs
from raybench.inputs.wanted_values import Wanted
from raybench.models.saved_models import Accepted, Signature

ZERO = "zero"


class StoredFile(Protocol):
    """A file whose items are read at once."""

    @property
    def name(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of what it holds."""

    @property
    def is_strict(self) -> bool:
        """Whether a name that is no input or output of the model is an error."""

    def items(self, wanted: Mapping[str, Wanted], outputs: Mapping[str, Wanted]) -> StoredItems:
        """The items for these inputs; raises InputFileError."""


@dataclass(frozen=True)
class FileSource:
    """A file and the input that it fills; None: every input that no other source fills."""

    file: StoredFile
    input: str | None = None


@dataclass(frozen=True)
class MadeSource:
    """Values that are made: images of a source, random ones or zeros; for one input, or for the rest (None)."""

    made: DeclaredInputs
    is_zero: bool = False
    input: str | None = None


@dataclass(frozen=True)
class TableSource:
    """A table and the input that it fills; None: every input that no other source fills."""

    file: TableFiles
    input: str | None = None


@dataclass(frozen=True)
class FileInputs:
    """Files fill what they hold, `rest` makes what no source fills."""

    name: str
    stored: tuple[FileSource, ...]
    table: TableSource | None
    made: tuple[MadeSource, ...]
    rest: MadeSource

    @property
    def _files(self) -> tuple[FileSource | TableSource, ...]:
        return (*self.stored, self.table) if self.table else self.stored

    @property
    def _sources(self) -> tuple[FileSource | TableSource | MadeSource, ...]:
        return (*self._files, *self.made)

    @property
    def files(self) -> tuple[str, ...]:
        """The image files of all sources."""
        is_complete = any(each.input is None for each in self._files)  # it fills what others leave
        makers = self.made if is_complete else (*self.made, self.rest)
        return tuple(dict.fromkeys(file for each in makers for file in each.made.files))

    def only(self, files: tuple[str, ...]) -> "FileInputs":
        """The source without the image files that cannot be read."""
        there = set(files)

        def kept(source: MadeSource) -> MadeSource:
            return replace(source, made=source.made.only(tuple(f for f in source.made.files if f in there)))

        return replace(self, made=tuple(map(kept, self.made)), rest=kept(self.rest))

    def check(self, signatures: Iterable[Signature]) -> None:
        """Raise ConfigError where the user names an input that none of a run's signatures has."""
        self.rest.made.check(signatures)

    def alternatives(self, signature: Signature) -> Mapping[str, tuple[Accepted, ...]]:
        """Values to try for the inputs that are made."""
        found = {name: source for name, source in self._makers(signature).items() if not source.is_zero}
        choices = {name: source.made.alternatives(signature).get(name) for name, source in found.items()}
        return {name: each for name, each in choices.items() if each}

    def bind(self, signature: Signature, seed: int) -> BoundSource:
        """The values of every input; raises ConfigError for what does not fit, with the remedy."""
        self._check_names(signature)
        wanted = self._wanted(signature)
        outputs = wanted_outputs(signature)
        parts, skipped, expected = dict[str, TensorSource](), list[SkippedRows](), None
        for source in self.stored:
            mine = self._filled_by(source, wanted, parts, source.file.names)
            if not mine:
                raise InputFileError(source.file.name, "every input has a source of its own: leave this one out")
            found = source.file.items(mine, outputs)
            skipped += [found.skipped] if found.skipped.count else []
            expected = found.expected or expected
            for name, column in found.columns.items():
                is_picture = has_item_axis(signature) and is_image(signature.inputs[name])
                parts[name] = stored_values(column, signature.inputs[name].datatype, is_image=is_picture)
        parts |= self._made(signature, seed)
        if self.table:
            return self._with_table(self.table, signature, wanted, parts)
        ordered = tuple((name, parts[name]) for name in signature.inputs if name in parts)
        if not ordered:
            raise ConfigError("it takes no input, so there is nothing to send")
        inputs = BoundInputs(self.name, ordered, signature)
        if not self.stored:
            return inputs
        return StoredInputs(inputs, tuple(skipped), expected)

    def _wanted(self, signature: Signature) -> dict[str, Wanted]:
        """What an item of each input has to be; where it is an image, a file of one will do."""
        maker = self.rest.made.only(())
        pictures = [name for name, spec in signature.inputs.items() if has_item_axis(signature) and is_image(spec)]
        parts = maker.parts(signature, 0, pictures)
        images = {name: part for name, part in parts if isinstance(part, Images)}
        wanted = wanted_inputs(signature, maker.options.shapes)
        return {name: replace(its, images=images.get(name)) for name, its in wanted.items()}

    def _with_table(
        self, source: TableSource, signature: Signature, wanted: Mapping[str, Wanted], parts: Mapping[str, TensorSource]
    ) -> TableInputs:
        there = source.file.columns() or ()
        mine = self._filled_by(source, wanted, parts, there)
        if not mine:
            raise InputFileError(source.file.name, "every input has a source of its own: leave this one out")
        is_other = source.input and there and source.input not in there and len(there) == 1
        reader = RowReader(source.file, tuple(mine.values()), ((source.input or "", there[0]),) if is_other else ())
        check_columns(reader)
        return TableInputs(self.name, reader, tuple(parts.items()), signature)

    def _filled_by(
        self,
        source: FileSource | TableSource,
        wanted: Mapping[str, Wanted],
        taken: Mapping[str, TensorSource],
        there: Collection[str],
    ) -> dict[str, Wanted]:
        if source.input:
            return {source.input: replace(wanted[source.input], is_optional=False)}
        named = {each.input for each in self._sources}
        return {
            name: its
            for name, its in wanted.items()
            if name not in named and name not in taken and (name in there or not its.is_optional)
        }

    def _makers(self, signature: Signature) -> dict[str, MadeSource]:
        """What makes the inputs that no file fills, by name."""
        chosen = {each.input: each for each in self.made if each.input in signature.inputs}
        filled = {each.input for each in self._files}
        rest = {} if None in filled else {name: self.rest for name in required(signature) if name not in filled}
        return {**rest, **{name: each for name, each in chosen.items() if name}}

    def _made(self, signature: Signature, seed: int) -> dict[str, TensorSource]:
        made: dict[str, TensorSource] = {}
        for name, source in self._makers(signature).items():
            _, part = source.made.parts(signature, seed, (name,))[0]
            made[name] = Zeros(part) if source.is_zero else part
        return made

    def _check_names(self, signature: Signature) -> None:
        there = ", ".join(signature.inputs) or "none"
        for each in self._sources:
            if each.input and each.input not in signature.inputs:
                what = each.file.name if isinstance(each, FileSource | TableSource) else each.made.name
                raise InputFileError(f"{each.input}={what}", f"the signature takes {there}: choose one of them")
        for source in self.stored:
            known = (*signature.inputs, *signature.outputs)
            if source.file.is_strict and (unknown := [name for name in source.file.names if name not in known]):
                said = f"it has {unknown[0]}, and the signature takes {there}: rename it to one of them"
                raise InputFileError(source.file.name, said)
        for name, spec in signature.inputs.items():
            if spec.datatype not in NUMPY_TYPES and name not in signature.optional:
                raise ConfigError(f"it takes {described(name, spec)}, a type that raybench cannot send")


@dataclass(frozen=True)
class Zeros:
    """Zeros, or empty texts, in the type and shape of what is made otherwise."""

    like: TensorSource

    @property
    def encoding(self) -> str:
        return f"zeros like {self.like.encoding}"

    @property
    def is_image(self) -> bool:
        return self.like.is_image

    @property
    def item_bytes(self) -> int:
        return self.like.item_bytes

    distinct = 1

    def values(self, numbers: np.ndarray) -> np.ndarray:
        one = self.like.values(np.zeros(1, np.int64))
        return np.full((len(numbers), *one.shape[1:]), b"" if one.dtype.kind == "O" else 0, one.dtype)
