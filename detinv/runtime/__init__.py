"""What every job needs of the machine: devices, processes, interruptions, seeds, loggers."""
