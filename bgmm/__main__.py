"""``python -m bgmm`` is the command ``bgmm``."""

from bgmm.cli import main

main()
