"""What all tests share."""

from hypothesis import settings

# The same examples at every run, and no limit of time: machines that test are slow and busy.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
