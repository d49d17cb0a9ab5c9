"""Organisations, projects, people, roles and scoped keys.

What is there belongs to the organisation "default" and its project "default"; a key that was an owner's
stays one, of the whole instance.
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, and the first organisation with its project."""
    state = op.create_table(
        "identity_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("generation", INT64, nullable=False),
        sa.CheckConstraint("id = 1", name="identity_state_is_one_row"),
        comment="One row, whose lock orders changes: each raises `generation` before it writes.",
    )
    organisations = op.create_table(
        "organisations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("created", INT64, nullable=False),
        sa.Column("archived", INT64),
        sa.Column("changed", INT64, nullable=False),
        comment="Organisations: who is accountable for its projects.",
    )
    op.create_index("ix_organisations_changed", "organisations", ["changed"])
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("ceiling", sa.Text, nullable=False),
        sa.Column("jurisdiction", sa.Text, nullable=False),
        sa.Column("models", sa.Text),
        sa.Column("retention", sa.Text, nullable=False),
        sa.Column("created", INT64, nullable=False),
        sa.Column("archived", INT64),
        sa.Column("changed", INT64, nullable=False),
        comment="Projects: the boundary of who sees what. `ceiling` is a classification label.",
    )
    op.create_index("ix_projects_organisation", "projects", ["organisation"])
    op.create_index("ix_projects_changed", "projects", ["changed"])
    _people()
    _keys()
    _content()
    now = time.time_ns() // 1_000_000
    op.bulk_insert(state, [{"id": 1, "generation": 1}])
    op.bulk_insert(organisations, [{"id": "default", "name": "default", "created": now, "changed": 1}])
    first = {
        "id": "default",
        "organisation": "default",
        "name": "default",
        "ceiling": "",
        "jurisdiction": "",
        "retention": "default",
        "created": now,
        "changed": 1,
    }
    op.bulk_insert(projects, [first])


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False, unique=True),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("created", INT64, nullable=False),
        sa.Column("disabled", INT64),
        sa.Column("changed", INT64, nullable=False),
        comment="People. Names and addresses are here and nowhere else; records carry pseudonyms.",
    )
    op.create_index("ix_users_organisation", "users", ["organisation"])
    op.create_index("ix_users_changed", "users", ["changed"])
    op.create_table(
        "role_grants",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False, server_default=""),
        sa.Column("created", INT64, nullable=False),
        sa.Column("ended", INT64),
        sa.Column("changed", INT64, nullable=False),
        comment="A person's roles. Organisation '' is the whole instance, project '' the whole organisation.",
    )
    op.create_index("ix_role_grants_user", "role_grants", ["user"])
    op.create_index("ix_role_grants_changed", "role_grants", ["changed"])


def _keys() -> None:
    for name, default in (
        ("organisation", "default"),
        ("project", "default"),
        ("scope", "project"),
        ("user", ""),
        ("issuer", ""),
        ("hint", ""),
    ):
        op.add_column("api_keys", sa.Column(name, sa.Text, nullable=False, server_default=default))
    for name in ("models", "routes", "networks", "successor"):
        op.add_column("api_keys", sa.Column(name, sa.Text))
    op.add_column("api_keys", sa.Column("changed", INT64, nullable=False, server_default="1"))
    op.create_index("ix_api_keys_changed", "api_keys", ["changed"])
    op.execute("UPDATE api_keys SET scope = 'instance' WHERE role = 'owner'")


def _content() -> None:
    op.create_table(
        "content_requests",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("call", sa.Text, nullable=False),
        sa.Column("organisation", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("requester", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("seconds", sa.Integer, nullable=False),
        sa.Column("created", INT64, nullable=False),
        sa.Column("decided", INT64),
        sa.Column("decider", sa.Text),
        sa.Column("granted", sa.Integer),
        sa.Column("until", INT64),
        comment="Who asked to read a call's content, for what, and what a second person decided.",
    )
    op.create_index("content_requests_of_project", "content_requests", ["project", "created"])
    op.create_table(
        "content_reads",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("call", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("record", INT64, nullable=False),
        sa.Column("time", INT64, nullable=False),
        comment="Each reading of a call's content, and the index of its record.",
    )
    op.create_index("content_reads_of_project", "content_reads", ["project", "time"])
