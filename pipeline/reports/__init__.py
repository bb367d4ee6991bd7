"""Pages and charts to look at. Alone knows Jinja and Matplotlib."""
