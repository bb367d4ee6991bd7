"""Files become frames and pictures, and frames become files. Alone knows ffmpeg, PyAV and Pillow's readers."""
