"""How it is computed: one algorithm a file, each a frozen dataclass of settings with ``run(target, key=...) -> Draws``."""
