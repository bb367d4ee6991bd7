"""The archive's listing as a run sees it: in small steps between other work, each entered into the store."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from pipeline.batch import archive_layout
from pipeline.batch.batch_run import BatchRun
from pipeline.batch.disk_gate import DiskGate
from pipeline.batch.progress import RunLog, Summary
from pipeline.batch.scanning import folder_walk
from pipeline.batch.scanning.exact_copies import CopyFinder
from pipeline.batch.scanning.folder_walk import PassedOver
from pipeline.batch.store.row_records import Entry, Standing
from pipeline.explain import discard
from pipeline.records import Found

LISTED_AT_ONCE = 200


class Listing:
    """First everything below the sources is entered (`is_open`); behind that copies are looked for (`is_looking`)."""

    def __init__(self, run: BatchRun, gate: DiskGate, log: RunLog, summary: Summary) -> None:
        self._run, self._gate, self._log, self._summary = run, gate, log, summary
        self._copies = CopyFinder(run.store, root=run.root, settings=run.settings, run=run.number, exists=run.is_output_there)
        found = folder_walk.discover(run.paths, root=run.root, output=run.output, rules=run.request.rules)
        self._found: Iterator[Found | PassedOver | None] | None = self._copies.mark(found) if run.request.dedupe else found
        self._looking: Iterator[None] | None = None
        self._unentered: list[Entry] = []

    @property
    def is_open(self) -> bool:
        """Whether there may be more to find."""
        return self._found is not None

    @property
    def is_looking(self) -> bool:
        """Whether files are still to be read to see whether they are copies."""
        return self._looking is not None

    def step(self) -> bool:
        """Enter the next of what is found, and say whether some is to do; what finds no room in the store stays for the next time."""
        if self._found is None or not self._gate.is_open:
            return False
        has_more = bool(self._unentered) or self._collect(self._found)
        standings: list[Standing] = []
        with self._gate.guard():
            standings = self._run.store.entries.add(
                self._unentered,
                run=self._run.number,
                settings=self._run.settings,
                exists=self._run.is_output_there,
                retry_failed=self._run.request.retry_failed,
            )
            self._unentered = []
            self._copies.confirm_entered()
            self._summary.done_before += standings.count("done")
        if not has_more and not self._unentered:
            self._close()
        return not {"done", "failed", "copy"}.issuperset(standings)

    def _collect(self, listing: Iterator[Found | PassedOver | None]) -> bool:
        """Take the next from the listing; False when it has ended."""
        count = 0
        for found in itertools.islice(listing, LISTED_AT_ONCE):
            count += 1
            if found is None:  # a file is being read to see whether it is a copy, and there are other things to do
                return True
            if isinstance(found, PassedOver):
                self._summary.passed_over.append(found)
                self._log.write(f"passed over {found.path}: {found.reason}")
            else:
                self._summary.found += 1
                self._unentered.append(archive_layout.make_entry(found, self._run.request.options))
        return count == LISTED_AT_ONCE

    def _close(self) -> None:
        run = self._run
        below = archive_layout.find_listed_folders(run.paths, run.root, run.request.rules)
        if below:
            self._summary.missing = run.store.entries.close_listing(run=run.number, settings=run.settings, below=[*below])
            for row in run.store.jobs(["missing"], run.settings):
                discard(run.output / os.fsdecode(row.output))
        self._found, self._looking = None, self._copies.read_rest()

    def look_for_copies(self) -> None:
        """One step of looking for copies among what is entered."""
        if self._looking is not None:
            try:
                next(self._looking)
            except StopIteration:
                self._looking = None

    def count_copies(self) -> int:
        """How many of the files are exact copies of others; with --dedupe, how many are not made for that."""
        return self._run.store.counts(self._run.settings)["copy"] if self._run.request.dedupe else self._copies.count()
