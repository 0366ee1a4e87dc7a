"""The package's messages in the words of the command line."""

from __future__ import annotations

import re

OPTIONS = {
    "n_factors": "--factors", "n_iter": "--iter", "n_threads": "--threads", "reg": "--reg",
    "random_state": "--seed", "reg_exponent": "--reg-exponent", "alpha0": "--alpha0",
    "alpha": "--alpha", "early_stopping": "--early-stopping", "solver": "--solver",
    "user": "--user-column", "item": "--item-column", "value": "--value-column",
    "timestamp": "--timestamp-column", "sep": "--sep", "duplicates": "--duplicates", "k": "-k",
}  # fmt: skip
# What Python alone can do, and what to do here instead.
PHRASES = {
    "value=None": "--no-value",
    "value= (None where there are no values)": "value=, or give --no-value",
    "give None for the default": "leave it out for the default",
    "random_state must be None, an integer from 0 to 2**32 - 1 or a numpy.random.RandomState": (
        "--seed must be an integer from 0 to 2**32 - 1"
    ),
    " (header=False if line 1 is data)": "",
    ", or call from_csv or from_parquet": "",
    "give encoding=": "convert it to UTF-8",
    "or start anew without resume": "or another --checkpoint",
    "pass validation to fit, or turn early_stopping off": "leave out --early-stopping",
    "exclude_seen=True needs": "leaving out what was seen needs",
    "pass exclude_seen=False, or the entries as X": "give --include-seen",
    "; or give exclude_seen=False": "",
    "give train, the entries of training, or exclude_seen=False to rank all items": (
        "save the model with its training entries"
    ),
}
# Where a message names an argument: as its subject, or with an equals sign. Not in a path.
_NAMED = re.compile(rf"(?:^|(?<=[ (]))({'|'.join(OPTIONS)})(=|(?= must | needs ))")


def in_options(message: str) -> str:
    """Return the message with options in place of arguments."""
    for phrase, instead in PHRASES.items():
        message = message.replace(phrase, instead)
    message = _NAMED.sub(lambda match: OPTIONS[match[1]] + match[2], message)
    return re.sub(r"(--[a-z-]+)=(?=[ ,:;)]|$)", r"\1", message)
