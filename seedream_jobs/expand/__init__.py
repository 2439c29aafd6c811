"""From a job to its requests: the matrix, the payloads, identity and address, local references."""
