"""Objects through videos: read ahead, step the tracker, write behind, and go on where a run was stopped."""
