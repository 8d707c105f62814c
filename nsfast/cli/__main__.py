"""python -m nsfast.cli is the command nsfast."""

from nsfast.cli import main

main()
