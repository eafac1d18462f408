"""What the commands' parsers share."""

import argparse
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Raises ValueError with one line where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; --help lists the arguments")
