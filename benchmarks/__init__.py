"""bgmm beside its peers: ``make bench``, or ``python -m benchmarks.run --only iteration`` for one part of it."""
