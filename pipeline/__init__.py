"""Stage one: Beam jobs that shard corpora and run each language's teachers once."""
