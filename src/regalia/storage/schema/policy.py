"""The policies in force, and the calls that wait for a reviewer."""
