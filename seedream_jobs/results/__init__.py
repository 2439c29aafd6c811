"""Looking at it: thumbnails, the gallery, exports."""
