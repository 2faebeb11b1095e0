"""Measuring: what a step costs, beside what it must cost, beside what others make it cost.

Counting memory goes through torch's profiler, which talks on stderr unless it is told not to
before torch is loaded.
"""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
