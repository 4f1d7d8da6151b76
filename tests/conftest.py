"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# Two busy cores draw slowly: how long an example takes says nothing about the law it tests.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
