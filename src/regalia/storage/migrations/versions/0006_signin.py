"""Identity providers, accounts and sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables of signing in and of provisioning."""
    _accounts()
    _sessions()
    _scim()


def _accounts() -> None:
    op.create_table(
        "identities",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False, index=True),
        sa.Column("created", INT64, nullable=False),
        sa.Column("groups_of", INT64, nullable=False, server_default="0"),
        sqlite_with_rowid=False,
        comment="Which user a provider's subject is, and the `iat` of the token whose groups hold.",
    )
    op.create_table(
        "accounts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False, unique=True),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("changed", INT64, nullable=False),
        sa.Column("totp", sa.LargeBinary),
        sa.Column("totp_used", INT64, nullable=False),
        sa.Column("disabled", INT64),
        comment="Local accounts. `totp` is sealed, `totp_used` the last time step a code was taken for.",
    )
    op.create_table(
        "recovery_codes",
        sa.Column("account", sa.Text, sa.ForeignKey("accounts.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        comment="The recovery codes that are left; one goes with its use.",
    )
    op.create_table(
        "attempts",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last", INT64, nullable=False),
        sa.Column("until", INT64, nullable=False),
        comment="Failed sign-ins in a row, by browser; account '' stands for all unknown names.",
    )


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("user", sa.Text, nullable=False, index=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("created", INT64, nullable=False),
        sa.Column("seen", INT64, nullable=False),
        sa.Column("expires", INT64, nullable=False, index=True),
        comment="Browser sessions by the keyed hash of their cookie; `provider` is empty for local accounts.",
    )
    op.create_table(
        "signin_states",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("expires", INT64, nullable=False, index=True),
        comment="The states that have come back from a provider, so that none comes back twice.",
    )


def _scim() -> None:
    op.create_table(
        "scim_users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("user_name_key", sa.Text, nullable=False, unique=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text, index=True),
        sa.Column("active", sa.Integer, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("created", INT64, nullable=False),
        sa.Column("modified", INT64, nullable=False),
        comment="Users that a provisioning client keeps, by their user id; `user_name_key` is without case.",
    )
    op.create_table(
        "scim_groups",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False, unique=True),
        sa.Column("external_id", sa.Text),
        sa.Column("created", INT64, nullable=False),
        sa.Column("modified", INT64, nullable=False),
        comment="Groups that a provisioning client keeps; their names are mapped to roles.",
    )
    op.create_table(
        "scim_members",
        sa.Column("group", sa.Text, sa.ForeignKey("scim_groups.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("user", sa.Text, sa.ForeignKey("scim_users.id", ondelete="CASCADE"), primary_key=True),
        comment="Who is in which group.",
    )
    op.create_index("scim_members_user", "scim_members", ["user"])
