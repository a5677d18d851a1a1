"""One reader a layout on disk; yields core types. No torch."""
