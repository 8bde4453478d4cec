"""``python -m fieldstation``: the command line."""

from fieldstation.cli import main

if __name__ == "__main__":
    main()
