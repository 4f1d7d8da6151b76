"""The trainer: an explicit loop, what it is fed with, and what it leaves behind."""
