"""The service's twin on a loopback port: the contract, its faults, its books and its pictures, without a key.

It imports nothing from the client side and enforces the contract with its own code, so that the two can be held
against each other. Start at ``server`` (in this process), ``__main__`` (in its own process) or ``app`` (the routes).
"""
