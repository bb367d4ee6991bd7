"""A frame and its explanation become a picture: heat, label, layout."""
