"""`python -m serve` is the `farm` command."""

from serve.cli import main

main()
