"""The service: its model profiles, its client, what its replies mean, its emulator."""
