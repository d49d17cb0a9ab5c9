"""Transparency-log witnesses (C2SP tlog-witness): being one, and asking them.

A witness cosigns a log's checkpoints, each only if it extends the one before. Who demands the
cosignatures of several witnesses need not trust the log's operator to show everyone the same log.

    decision, request       the rules and the request format; no I/O
    keys, book, evidence    a witness' state
    witness, server         the witness itself, and on HTTP
    roster, client          whom a log asks, and how
    remembered, cadence     what it remembers of the answers; asking while it grows
"""
