"""The sources that --input names: a word, files or a folder, for one input or for all."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from raybench.config import Benchmark, ConfigError
from raybench.config.model_folders import split_name
from raybench.inputs.declared_inputs import DeclaredInputs
from raybench.inputs.file_inputs import ZERO, FileInputs, FileSource, MadeSource, StoredFile, TableSource
from raybench.inputs.file_locations import InputFileError, absolute, files_below, is_uri, opened, read_bytes
from raybench.inputs.input_options import InputOptions
from raybench.inputs.numpy_files import numpy_file
from raybench.inputs.perf_analyzer_files import StepsFile, joined, raw_folder, steps_file
from raybench.inputs.photo_source import NOISE, PHOTOS, photo_source
from raybench.inputs.photos import SUFFIXES
from raybench.inputs.source import InputSource
from raybench.inputs.table_files import LINES, TableFiles, table_files

RANDOM = "random"
_FIRST_BYTES = 2**20
_KINDS = ".npz, .npy, .json, .jsonl, .csv, .parquet or .tfrecord"


def inputs_of(benchmark: Benchmark) -> InputSource:
    """The source of a run's inputs, as its settings say; raises ConfigError for one that cannot be read."""
    quality = benchmark.jpeg_quality
    options = InputOptions(benchmark.shape, benchmark.range, benchmark.string_length, benchmark.string_data)
    usual = DeclaredInputs(photo_source(PHOTOS, jpeg_quality=quality), options)
    return input_source(benchmark.sources, usual, jpeg_quality=quality)


def input_source(texts: Sequence[str], usual: DeclaredInputs, *, jpeg_quality: int) -> InputSource:
    """The source that these texts name, `usual` where there is none; raises ConfigError for one that cannot be read."""
    if not texts:
        return usual
    made, stored, tables = list[MadeSource](), list[FileSource](), list[TableSource]()
    steps = dict[str | None, list[StepsFile]]()
    for text in texts:
        name, source = split_name(text)
        make = partial(photo_source, jpeg_quality=jpeg_quality)
        if source in (PHOTOS, NOISE, RANDOM, ZERO):
            photos = replace(make(PHOTOS if source == PHOTOS else NOISE), name=source)
            made.append(MadeSource(replace(usual, photos=photos), source == ZERO, name))
        elif _is_image_folder(source, files := files_below(source)):
            photos = replace(make(absolute(source)), name=source)
            made.append(MadeSource(replace(usual, photos=photos), input=name))
        elif table := table_files(source, files) or _lines(source):
            tables.append(TableSource(table, name))
        elif isinstance(file := _file(source, files), StepsFile):
            steps.setdefault(name, []).append(file)
        else:
            stored.append(FileSource(file, name))
    stored += [FileSource(joined(files), name) for name, files in steps.items()]
    _check_once(texts, [*stored, *tables, *made])
    if len(tables) > 1:
        raise ConfigError(f"input is {', '.join(texts)}; rows of two tables do not match up: join them into one")
    if not stored and not tables and len(made) == 1 and made[0] == MadeSource(made[0].made):
        return made[0].made
    rest = next((each for each in made if each.input is None), MadeSource(usual))
    named = tuple(each for each in made if each.input)
    return FileInputs(", ".join(texts), tuple(stored), tables[0] if tables else None, named, rest)


def _is_image_folder(source: str, files: Sequence[str]) -> bool:
    is_one = any(file.lower().endswith(SUFFIXES) for file in files)
    if is_one and (is_uri(source) or files == [source]):
        raise InputFileError(source, "images are read from a folder on this host: name one")
    return is_one


def _lines(source: str) -> TableFiles | None:
    """JSON Lines in a file called .json: its first line is an object by itself, without perf_analyzer's data."""
    if not source.lower().endswith(".json"):
        return None
    try:
        with opened(source) as stream:
            line, _, rest = bytes(stream.read(_FIRST_BYTES)).partition(b"\n")
        first = json.loads(line)
    except (OSError, ValueError, RecursionError):
        return None
    is_row = isinstance(first, dict) and "data" not in first
    return TableFiles(source, LINES, (absolute(source),)) if is_row and rest.lstrip().startswith(b"{") else None


def _file(source: str, files: Sequence[str]) -> StoredFile:
    """What a path or URI holds, by the names of its files."""
    if files != [source]:
        if is_uri(source):
            raise InputFileError(source, f"it holds none of {_KINDS}: name such a file")
        return raw_folder(source)
    if source.lower().endswith((".npz", ".npy")):
        return numpy_file(source)
    if source.lower().endswith(".json"):
        return steps_file(source, read_bytes(source))
    raise InputFileError(source, f"its name does not say what it holds: use {_KINDS}, or a folder")


def _check_once(texts: Sequence[str], sources: Sequence[FileSource | TableSource | MadeSource]) -> None:
    """Raise ConfigError where two sources fill the same."""
    filled = [each.input or ("the rest" if isinstance(each, MadeSource) else "all inputs") for each in sources]
    if twice := [what for what in filled if filled.count(what) > 1]:
        said = f"{twice[0]} would come from two sources: leave out one, or write NAME=SOURCE"
        raise ConfigError(f"input is {', '.join(texts)}; {said}")
