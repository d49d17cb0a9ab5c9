"""Regalia's formats and their verification, for anyone who trusts nobody.

A receipt or a whole log is checked against a policy file that the reader of the result has chosen, with
nothing but the standard library and ``cryptography``. Nothing here writes to disk, and only a log's URL
leads to the network. From the command down to the hashes:

    cli                       `regalia-verify`
    receipt, log              one answer; every entry of a log, and the story that they tell
    record                    what an entry is, and the commitments in it
    policy, rotation          whose signatures suffice; how a log's keys change
    note                      who signed which tree
    merkle                    an entry's place in a tree; RFC 6962
    source                    the files that a C2SP tiled log is made of, and where they come from
    strict, errors            one spelling for each value; what refusal looks like
"""

__version__ = "0.1.0"
