"""`python3 -m skerry`: where no script of that name is, as in an image."""

from skerry.cli.main import main

if __name__ == "__main__":
    main()
