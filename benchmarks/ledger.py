"""What the ledger costs for an archive of a million files, half of them done.

python benchmarks/ledger.py [--rows N] [--repeat N]

Prints the median, and the slowest of twenty, of: a job claimed and finished with three stretches, the counts of all states, a thousand
files entered that are known or new, and others. The ratio is a lease with plain indexes on the state over one with the partial indexes,
in the same ledger. A million rows take 500 MB of temporary files (TMPDIR says where) and half a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from pipeline.batch import Entry, Finished, Lease, Store, open_store
from pipeline.files import Process
from pipeline.records import ClassName, Found, LabelInterval

BATCH = 1000
NAMES = [ClassName(index=index, wnid=f"n{index:08d}", label=f"class {index}") for index in range(1000)]
PARTIAL = {"job_ready": "state", "job_running": "run", "job_waiting": "ready_after", "job_token": "token"}
FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO source (id, relative, kind, size_bytes, mtime_ns, seen_run)
    SELECT i, CAST(printf('folder %04d/file %08d.mov', i / 1000, i) AS BLOB), 'video', i * 1000, i, 1 FROM n;
INSERT INTO job (source, settings, output, owned, state, attempts, run, frames_done, outcome)
    SELECT id, 1, CAST(relative || '.mp4' AS BLOB), 1, iif(id % 2, 'done', 'ready'), id % 2, 1, id % 2 * 250,
        iif(id % 2, '{{"frames": 250}}', NULL) FROM source;
INSERT INTO attempt (job, run, token, begun_at, ended_at, how)
    SELECT id, 1, hex(randomblob(12)), '2026-01-01', '2026-01-01', 'done' FROM job WHERE state = 'done';
WITH n(i) AS (VALUES (0), (1), (2))
INSERT INTO stretch SELECT id, 1 + (id * 7 + i * 331) % 1000, i, i + 1, 25, 0.25, id * 0.61803398875 % 1 FROM job, n WHERE state = 'done';
"""


def fill(path: Path, rows: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executemany("INSERT INTO class (wnid, label) VALUES (?, ?)", [(name.wnid, name.label) for name in NAMES])
        db.commit()
        db.executescript(f"BEGIN; {FILL.format(rows=rows)} COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")


def plain_indexes(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        for name, column in PARTIAL.items():
            db.executescript(f"DROP INDEX {name}; CREATE INDEX {name} ON job ({column})")


def times(repeat: int, work: Callable[[], object]) -> list[float]:
    """Milliseconds of each."""
    taken = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1000)
    return taken


def show(what: str, taken: list[float]) -> None:
    slowest = quantiles(taken, n=20)[-1] if len(taken) > 1 else taken[0]
    print(f"{what:44} {median(taken):10.2f} ms {slowest:10.2f} ms", flush=True)


class Work:
    def __init__(self, store: Store, rows: int) -> None:
        self.store, self.rows = store, rows
        self.owner = Process.here()
        self.new = itertools.count(rows + 1)
        self.known = itertools.cycle(range(0, rows, BATCH))

    def lease(self) -> Lease:
        lease = self.store.leases.take(run=1, settings=1, owner=self.owner, exists=lambda _: True)
        assert lease is not None
        return lease

    def claim_and_finish(self) -> None:
        lease = self.lease()
        seen = [
            LabelInterval(name=NAMES[(lease.job + n) % 1000], start_seconds=n, end_seconds=n + 1, frames=25, mean_score=0.2, best_score=0.4)
            for n in range(3)
        ]
        assert self.store.leases.settle(lease, Finished(outcome={"frames": 250}, intervals=seen, frames=250), now=0.0) == "done"

    def enter(self, numbers: range) -> None:
        entries = []
        for i in numbers:
            relative = b"folder %04d/file %08d.mov" % (i // 1000, i)
            found = Found(path=Path("x"), relative=relative, kind="video", size_bytes=i * 1000, mtime_ns=i)
            entries.append(Entry(found=found, outputs=[relative + b".mp4"]))
        self.store.entries.add(entries, run=2, settings=1, exists=lambda _: True)

    def enter_known(self) -> None:
        first = next(self.known)
        self.enter(range(first + 1, first + BATCH + 1))

    def enter_new(self) -> None:
        first = next(self.new) * BATCH
        self.enter(range(first, first + BATCH))

    def close(self) -> None:
        self.store.entries.close_listing(run=1, settings=1, below=[b""])

    def search(self, classes: int, *, min_seconds: float = 0.0) -> None:
        """As `visualize search` with a query that so many labels match; the stretches here last a second each."""
        for number in range(1, classes + 1):
            self.store.seen.class_hits(number, min_score=0.0, min_seconds=min_seconds, limit=20)

    def list_all(self) -> None:
        assert sum(1 for _ in self.store.jobs()) >= self.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        with open_store(path) as store:
            settings = store.add_settings("{}")
            store.runs.begin(settings=settings, command="batch", version="1", process=Process.here())
        started = time.perf_counter()
        fill(path, options.rows)
        print(f"{options.rows} files, made in {time.perf_counter() - started:.0f} s, {path.stat().st_size / 1e6:.0f} MB\n")
        print(f"{'':44} {'median':>13} {'slowest of 20':>13}")
        with open_store(path) as store:
            work = Work(store, options.rows)
            show("lease and finish", times(options.repeat, work.claim_and_finish))
            partial = times(options.repeat, work.lease)
            show("lease", partial)
            show("wake, nothing waits", times(options.repeat, lambda: store.leases.wake(run=1, monotonic=0.0)))
            show("heartbeat of ten jobs", times(100, lambda: store.runs.beat(1, {f"{n:024x}": (1, 2) for n in range(10)})))
            show("a thousand known files entered", times(50, work.enter_known))
            show("a thousand new files entered", times(20, work.enter_new))
            show("counts", times(10, store.counts))
            show("the first of what is running", times(10, lambda: next(store.jobs(["running"]))))
            show("sizes", times(3, store.sizes))
            show("a listing closed, all seen", times(3, work.close))
            show("a search that ten labels match", times(20, lambda: work.search(10)))
            show("a search that all thousand labels match", times(3, lambda: work.search(1000)))
            show("a search of ten labels, all hits too short", times(3, lambda: work.search(10, min_seconds=2.0)))
            show("all jobs listed", times(1, work.list_all))
        plain_indexes(path)
        with open_store(path) as store:
            plain = times(20, Work(store, options.rows).lease)
            show("lease, plain indexes", plain)
    print(f"\nplain over partial: {median(plain) / median(partial):.0f}")


if __name__ == "__main__":
    main()
