"""The one exception that a user is meant to read."""


class UserError(Exception):
    """A mistake that a user can mend: one line that says what, where, and what to do.

    The commands print the line alone and exit with status 2; nothing else in the project
    catches it.
    """
