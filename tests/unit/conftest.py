"""Examples are timed by nobody: these tests also run on machines that do other things."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
