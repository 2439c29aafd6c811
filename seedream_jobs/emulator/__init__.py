"""The service's twin on a loopback port: its contract, its faults, its books and its pictures, without a key.

It imports nothing from the client and enforces the contract with its own code, so that each can show the other wrong.
Start at ``server`` (in this process), ``__main__`` (in its own process) or ``app`` (the routes).
"""
