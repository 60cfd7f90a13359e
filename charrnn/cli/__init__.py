"""The commands, one file each: parse, call, show. Errors become lines and exit codes in `app` alone."""
