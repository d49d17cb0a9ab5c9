"""Regalia's formats and their verification, for anyone who trusts nobody.

A receipt or a whole log is checked against a policy file that the reader of the result has chosen, with
nothing but the standard library and ``cryptography``. Nothing here writes to disk, and only a log's URL
leads to the network. From the command down to the hashes:

    cli                       `regalia-verify`
    receipt, log, history     one answer; every entry of a log; the story that the entries tell
    record                    what an entry is, and the commitments in it
    policy, note, checkpoint  who signed which tree, and whether that suffices
    proof, merkle             an entry's place in a tree; RFC 6962
    source, tiles             the files that a C2SP tiled log is made of, and where they come from
    strict, errors            one spelling for each value; what refusal looks like
"""

__version__ = "0.1.0"
