"""Preloaded once by the fork server: every process starts with torch, diffusers and a tiny pipeline at hand."""

import torch
import trust_jobs

torch.set_num_threads(1)
trust_jobs.pipeline("sd")
