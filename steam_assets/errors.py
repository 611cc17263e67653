"""The errors a person can mend, and the exit codes scripts rely on. Bugs are not here: they rise as themselves."""

EXIT_DONE = 0
EXIT_INCOMPLETE = 1
EXIT_USAGE = 2
EXIT_UNEXPECTED = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class SteamAssetsError(Exception):
    """Wrong usage or configuration, or something needed is not there; the message says what, and what to do next."""

    exit_code = EXIT_USAGE
