"""An archive, unattended: a batch finds its pictures and videos, hands them to workers, and keeps what became of each."""
