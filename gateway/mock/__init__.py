"""The simulated AI API: slow, wordy and unreliable on demand, with no credential and no network.

It stands apart: nothing else of the gateway is imported here, and the relay sees only its URL.
"""
