"""Test vectors that need no Python: cases and their correctly rounded answers, as files."""
