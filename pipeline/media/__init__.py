"""Media files to frames and back; alone knows ffmpeg, PyAV and Pillow's readers."""
