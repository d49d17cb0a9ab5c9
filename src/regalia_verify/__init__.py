"""Regalia's formats and their verification, for anyone who trusts nobody.

A receipt or a whole log is checked here against a policy file that the reader of the result has
chosen, with nothing but the standard library and ``cryptography``. Nothing in this package writes
to disk, and only `log` with a URL talks to the network.

    errors, strict            what refusal looks like; the parsers' shared strictness
    merkle, tiles             RFC 6962 trees; the files a C2SP tiled log is made of
    note, checkpoint, policy  who signed which tree, and whether that suffices
    proof, record, receipt    one answer: its entry, its place in the log, its contents
    log, source               every entry of a log, and whether the whole is complete
    cli                       `regalia-verify`
"""

__version__ = "0.1.0"
