"""The command line: options → values → exit codes, one file per command."""
