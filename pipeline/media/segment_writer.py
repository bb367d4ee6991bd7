"""Segments of a video, encoded one by one."""

from pipeline.media.muxer import Original, Piece, Target, _taken, cut, join, verify, write_segment

__all__ = ["Original", "Piece", "Target", "_taken", "cut", "join", "verify", "write_segment"]
