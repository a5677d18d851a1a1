"""`python -m segcli` is `seg`."""

from segcli.cli.app import main

if __name__ == "__main__":
    main()
