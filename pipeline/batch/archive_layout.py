"""An archive, and the folder that what is made of it goes to: what a batch is asked for, where it keeps what, and what there is."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.batch.messages import Setup
from pipeline.batch.scanning import folder_walk, source_arguments
from pipeline.batch.scanning.folder_walk import PassedOver
from pipeline.batch.scanning.inclusion_rules import Rules
from pipeline.batch.store.row_records import Entry, Standing
from pipeline.batch.store.source_entries import lies_below
from pipeline.batch.store.store_reader import StoreReader, open_reader
from pipeline.errors import CommandError, InputError, OutputError, report_write_errors
from pipeline.files import check_output, hash_bytes
from pipeline.media import choose_encoder, default_suffix, images
from pipeline.models import zoo
from pipeline.options import ModelChoice, Options
from pipeline.records import Found, natural_key
from pipeline.rendering import colormap

HOME = ".heatreel"
# Options that change where, when or how quickly, but not what; predictions and maps have values of their own.
_WITHOUT_EFFECT = (
    "overwrite",
    "skip_existing",
    "fresh",
    "predictions",
    "save_maps",
    "batch_size",
    "segment_seconds",
    "max_megapixels",
    "allow_gaps",
    "report",
)
FORMATS = ("parquet", "csv", "jsonl", "none")
LEAST_FREE_BYTES = 16 << 20
# What has files in memory of several hosts, and whose locks SQLite's shared memory does not reach.
_NETWORK_FILE_SYSTEMS = re.compile(r"nfs|cifs|smb|9p|ceph|gluster|lustre|gpfs|afs|beegfs|sshfs|s3fs|rclone|davfs|vboxsf|orangefs|pvfs")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `visualize batch` is asked for. `predictions` is the format of each video's own file; `maps` the folder of raw maps.

    With `dedupe` an exact copy of another file is not made.
    """

    sources: Sequence[str]
    output: Path
    choice: ModelChoice
    options: Options
    rules: Rules
    device: str = "auto"
    predictions: Literal["parquet", "csv", "jsonl", "none"] = "parquet"
    maps: Path | None = None
    limit: int | None = None
    retry_failed: bool = False
    dedupe: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.predictions not in FORMATS:
            raise CommandError(f"--predictions {self.predictions}: not one of {', '.join(FORMATS)}")
        if self.limit is not None and self.limit < 1:
            raise CommandError(f"--limit {self.limit}: less than 1")

    @functools.cached_property  # the model's file is read for it
    def settings(self) -> str:
        """Canonical JSON of all that changes what comes out; not where, how quickly, or on what."""
        options = asdict(self.options)
        for name in _WITHOUT_EFFECT:
            del options[name]
        more = {"predictions": self.predictions, "save_maps": self.maps is not None}
        return json.dumps({**options, **more, "model": zoo.identify_model(self.choice)}, sort_keys=True, default=str)

    @property
    def setup(self) -> Setup:
        """What every worker is opened with."""
        return Setup(choice=self.choice, options=self.options, settings=hash_bytes(self.settings.encode()), device=self.device)


# ------------------------------------------------------------------------------------------------ where it is kept


def home_folder(output: Path) -> Path:
    return output / HOME


def store_file(output: Path, shard: tuple[int, int] | None) -> Path:
    return home_folder(output) / ("ledger.sqlite" if shard is None else f"ledger-{shard[0]}-of-{shard[1]}.sqlite")


def list_store_files(output: Path) -> list[Path]:
    """All that there are, of every shard."""
    return sorted(home_folder(output).glob("ledger*.sqlite"), key=lambda path: natural_key(path.name))


def find_store_files(output: Path) -> list[Path]:
    """As list_store_files. Raises InputError where there is none."""
    files = list_store_files(output)
    if not files:
        raise InputError(f"{output}: no batch has been here", remedy="give the folder that --output named")
    return files


def read_root(store: StoreReader) -> Path:
    """The archive's root, as the last run had it."""
    return Path(store.meta("root") or "")


@contextmanager
def open_other_shards(mine: Path) -> Iterator[list[StoreReader]]:
    """The stores beside one, to be read."""
    with ExitStack() as stack:
        files = [file for file in list_store_files(mine.parent.parent) if file != mine]
        yield [stack.enter_context(open_reader(file)) for file in files]


def log_file(output: Path, shard: tuple[int, int] | None, run: int) -> Path:
    """The log of a run, by its number in the shard's store."""
    return home_folder(output) / "logs" / f"run-{'' if shard is None else f'{shard[0]}-'}{run:06d}.log"


def receipt_file(store: StoreReader, output: Path, job: int | str) -> Path:
    """Shards share the folder, and each counts its jobs from 1."""
    return home_folder(output) / "receipts" / f"{store.path.stem}-{job}.json"


def poster_file(store: StoreReader, output: Path, job: int) -> Path:
    """The small picture that stands for an output on the archive's page."""
    return home_folder(output) / "posters" / f"{store.path.stem}-{job}.jpg"


def is_on_network(path: Path, *, mounts_file: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether a path lies on a file system of the network, by proc_pid_mountinfo(5); False where there is no such file."""
    try:
        lines = mounts_file.read_bytes().splitlines()
    except OSError:
        return False
    real, longest, kind = os.fsencode(os.path.realpath(path)), 0, b""
    for line in lines:
        before, _, after = line.partition(b" - ")
        point = re.sub(rb"\\(\d{3})", lambda code: bytes([int(code[1], 8)]), before.split()[4])  # a space is \040
        below = real == point or real.startswith(point.rstrip(b"/") + b"/")
        if below and len(point) >= longest:  # of two at one place the later one is seen
            longest, kind = len(point), after.split()[0]
    return bool(_NETWORK_FILE_SYSTEMS.search(kind.decode()))


def check_apart(paths: Sequence[Path], output: Path) -> None:
    """The output may lie within the archive, and is passed over there; where nothing else was named, nothing would be found."""
    real = Path(os.path.realpath(output))
    if all(Path(os.path.realpath(path)).is_relative_to(real) for path in paths):
        raise CommandError(f"--output {output}: the sources lie in it", remedy="name another folder, or one within the archive")


def prepare_output(request: Request) -> Path:
    """Refuse what cannot go well, before anything is made; then make the folder, and return its real path."""
    zoo.check_choice(request.choice, request.options.targets)
    colormap(request.options.colormap)
    options = request.options
    choose_encoder(options.codec, width_px=640, height_px=360, crf=options.crf, preset=options.preset)
    check_output(home_folder(request.output) / "ledger.sqlite", sources=frozenset(), overwrite=True)
    others = {path.name.partition("-of-")[2] for path in list_store_files(request.output)}
    mine = store_file(request.output, request.rules.shard).name.partition("-of-")[2]
    if others - {mine}:
        how = next(iter(others - {mine})).removesuffix(".sqlite")
        raise CommandError(
            f"--output {request.output}: its work is {f'divided by {how}' if how else 'not divided'}", remedy="keep --shard as it was"
        )
    with report_write_errors(request.output):
        for folder in ("logs", "receipts", "posters"):
            (home_folder(request.output) / folder).mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(request.output).free
    if free < LEAST_FREE_BYTES:
        raise OutputError(f"{request.output}: only {free / 1e6:.0f} MB are free", remedy="make room, or name another folder with --output")
    return Path(os.path.realpath(request.output))


def choose_root(store: StoreReader, paths: Sequence[Path]) -> Path:
    """The folder below which outputs mirror the tree: that of the first run, as long as it is there. Raises CommandError."""
    kept = store.meta("root")
    root = source_arguments.find_common_root(paths)
    if kept is None or not Path(kept).exists():
        return root
    outside = [path for path in paths if not Path(source_arguments.make_absolute(path)).is_relative_to(kept)]
    if outside:
        raise CommandError(
            f"{outside[0]}: the output holds what was made of {kept}, and this lies elsewhere", remedy="name another --output"
        )
    return Path(kept)


# ------------------------------------------------------------------------------------------------ what there is


def make_entry(found: Found, options: Options) -> Entry:
    """An input with the names that its output may get, the best first; the tree of the output mirrors the archive's."""
    suffix = default_suffix(options.codec) if found.kind == "video" else images.output_suffix(found.path)
    folder, name = os.path.split(found.relative)
    digest = hash_bytes(found.relative)[:8]
    stems = [name, *([] if found.clashes else [os.path.splitext(name)[0]])]  # noqa: PTH122  # bytes
    names = [stem + f"_output{suffix}".encode() for stem in reversed(stems)]
    names.append(name + f"_output-{digest}{suffix}".encode())
    return Entry(found=found, outputs=[os.path.join(folder, name) for name in names])  # noqa: PTH118  # bytes


def survey(request: Request) -> Iterator[tuple[Standing | Literal["passed over", "missing"], bytes, int | None, str]]:
    """What a run would find: standing, path below the root, size in bytes, and the reason why it is passed over. Writes nothing."""
    paths = source_arguments.expand_sources(request.sources)
    check_apart(paths, request.output)
    file = store_file(request.output, request.rules.shard)
    with open_reader(file) if file.exists() else nullcontext() as store:
        root = choose_root(store, paths) if store else source_arguments.find_common_root(paths)
        settings, exists = store.settings_id(request.settings) if store else None, make_exists(request.output)
        seen: set[bytes] = set()
        for found in folder_walk.discover(paths, root=root, output=request.output, rules=request.rules):
            if isinstance(found, PassedOver):
                yield "passed over", os.fsencode(found.path), None, found.reason
                continue
            seen.add(found.relative)
            if store and settings is not None and request.dedupe:
                found = replace(found, copy_of=store.copies.original_of(found.relative, settings=settings))
            entry, again = make_entry(found, request.options), request.retry_failed
            standing = store.find_standing(entry, settings=settings, exists=exists, retry_failed=again) if store else "new"
            yield standing, found.relative, found.size_bytes, ""
        below = find_listed_folders(paths, root, request.rules)
        for row in store.jobs(settings=settings) if store else ():
            if row.relative not in seen and row.state not in ("done", "stale", "missing") and lies_below(row.relative, below):
                yield "missing", row.relative, row.size_bytes, ""


def find_listed_folders(paths: Sequence[Path], root: Path, rules: Rules) -> set[bytes]:
    """What was listed completely, as paths below the root: what is not found there is missing. Nothing, where only a choice was listed."""
    if rules.include or rules.exclude or rules.max_size_bytes:
        return set()
    tops = [Path(source_arguments.make_absolute(path)) for path in paths]
    return {b"" if path == root else os.fsencode(path.relative_to(root)) for path in tops}


def make_exists(output: Path) -> Callable[[bytes], bool]:
    return lambda relative: os.path.lexists(output / os.fsdecode(relative))
