"""What is known of each request: the states, the journal, the manifest, the lock."""
