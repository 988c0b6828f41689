"""Command lines of programs that start without the station's libraries."""

from __future__ import annotations

import argparse
from typing import NoReturn

from rig.errors import UserError


class ArgumentParser(argparse.ArgumentParser):
    """As argparse's, but what is wrong with a command line is told in a sentence and its mend."""

    def error(self, message: str) -> NoReturn:
        """Complain.

        Raises:
            UserError: Always.
        """
        raise UserError(
            f"'{self.prog}': {message.rstrip('.')}.", hint=f"'{self.prog} --help' tells more."
        )
