"""What all tests share: torch uses one thread, so that parallel test runs do not fight."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
