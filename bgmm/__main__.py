"""``python -m bgmm`` is the command ``bgmm``."""

from bgmm.cli import main

if __name__ == "__main__":
    main()
