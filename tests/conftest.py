"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# A busy machine must not fail a property: what a test takes is measured in benchmarks/, not here.
settings.register_profile("seg", deadline=None)
settings.load_profile("seg")
