"""Audit events for the operator's own systems: the log's records as OCSF, sent where the operator says."""
