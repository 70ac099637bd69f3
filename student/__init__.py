"""Stage two: stream targets from disk, train the student, export it, and show how well it does."""
