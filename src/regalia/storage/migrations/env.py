"""Alembic's entry: runs the migrations on the connection and in the transaction of `migrate.upgrade`."""

from alembic import context

from regalia.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
