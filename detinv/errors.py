"""Errors a person can mend. The command line prints them as one line and exits with status 2."""


class DetinvError(Exception):
    """Base of all errors caused by input: the message names the file, the entry and the mend."""


class LayoutError(DetinvError):
    """A layout, annotation or label that cannot be used."""


class DetectorError(DetinvError):
    """A detector that is unknown, does not fit its weights, or cannot take this layout."""


class ConfigError(DetinvError):
    """An option that is unknown or has an unusable value."""


class OutputError(DetinvError):
    """An output folder or file that cannot be written."""


class MemoryLimitError(DetinvError):
    """Work that the memory of this machine, or of its GPU, does not suffice for."""


class ProcessError(DetinvError):
    """Another process of the same job failed, so this one ends as well.

    Attributes:
        reported: whether the user learns of it from another process, so that this one need not say anything.
    """

    def __init__(self, message: str, reported: bool = False) -> None:
        super().__init__(message)
        self.reported = reported


class TargetError(RuntimeError):
    """Pseudo-targets are missing or belong to another step: a mistake in the program, not in its input."""
