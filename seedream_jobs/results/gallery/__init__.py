"""The gallery: a static folder, or one file, that shows a run as a grid and opens from disk."""
