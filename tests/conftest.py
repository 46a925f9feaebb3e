"""What all tests share: hypothesis without time limits, as a busy machine is no failure, and alike in each run."""

from hypothesis import settings

settings.register_profile("edge_wz", deadline=None, derandomize=True)
settings.load_profile("edge_wz")
