"""The configuration of one command: what its files and the command line say together, checked."""
