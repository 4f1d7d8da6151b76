"""The steps that turn a config into a store; run from the checkout as `python -m builders <verb>`."""
