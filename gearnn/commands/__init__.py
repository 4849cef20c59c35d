"""One module per command of the command line, each with ``main(arguments) -> exit code``."""
