"""The parts of `skerry.Client`, made from those of the asynchronous one by tests/sdk/test_synchronous.py."""
