"""What make_guard.py learns from, learns with, and is measured by."""
